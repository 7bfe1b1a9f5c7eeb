"""A MongoDB for the laptop: ``mongo-java-server`` speaks the wire protocol, its documents lie in one file of H2.

It knows the types that applications use; code with scope, symbols, DBPointers and binary data of seldom subtypes make it close the connection.
There is no login. A database that was dropped cannot always be made again under its name before the next start.
"""
