// Starts mongo-java-server: rhino server.js PORT FILE. Its own main program has no choice of port.
var mongo = Packages.de.bwaldvogel.mongo;
var newest = mongo.ServerVersion.MONGO_5_0;
var version = new JavaAdapter(mongo.MongoVersion, {
    // It says 8 for MongoDB 5.0, which is 13 there; PyMongo talks to 9 and later.
    getWireVersion: function () { return 13; },
    getVersionArray: function () { return newest.getVersionArray(); }
});
var server = new mongo.MongoServer(new mongo.backend.h2.H2Backend(arguments[1]).version(version));
// writes the file's last pages before the process ends
java.lang.Runtime.getRuntime().addShutdownHook(new java.lang.Thread(function () { server.shutdownNow(); }));
server.bind("127.0.0.1", parseInt(arguments[0], 10));
print("listening on " + arguments[0]);
