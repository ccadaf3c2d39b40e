// The users of the database msabench. MongoDB's image runs this once, when its data folder is empty; elsewhere:
//   MSABENCH_PASSWORD=… READER_PASSWORD=… OMNIBOARD_PASSWORD=… mongosh "mongodb://root@host/msabench?authSource=admin" users.js

// What `--store` and `sync` do, and no more (tests/store/test_mongo_docs.py holds it to that).
const writer = {
  "runs": ["find", "insert", "update", "remove", "createIndex"],
  "metrics": ["find", "insert", "update", "remove", "createIndex"],
  "fs.files": ["find", "insert", "remove", "createIndex", "listIndexes"],
  "fs.chunks": ["find", "insert", "remove", "createIndex", "listIndexes"],
  "msabench_counters": ["find", "insert", "update"]
};

db.createRole({
  role: "msabench_writer",
  privileges: Object.entries(writer).map(([collection, actions]) => ({resource: {db: "msabench", collection}, actions})),
  roles: []
});
db.createUser({user: "msabench", pwd: process.env.MSABENCH_PASSWORD, roles: ["msabench_writer"]});

// `report`, `list`, `show` and `sync --pull` only read.
db.createUser({user: "reader", pwd: process.env.READER_PASSWORD, roles: ["read"]});

// Omniboard keeps notes, tags and its settings beside the runs.
db.createUser({user: "omniboard", pwd: process.env.OMNIBOARD_PASSWORD, roles: ["readWrite"]});
