"""A MongoDB for the laptop: ``mongo-java-server`` speaks the wire protocol, its documents lie in one file of H2.

It knows the types that applications use; code with scope, symbols, DBPointers and other binary data than plain, UUID and MD5 make it close the connection. There is no login.
"""
