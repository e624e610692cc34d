package main

// The subjects by their names in the table.
var (
	raw     = &subject{name: "raw", crc: true, open: openRaw}
	insync  = &subject{name: "insync", crc: true, open: openInsync, reopen: reopenInsync}
	encoded = &subject{name: "encoded", crc: true, open: openInsyncEncoding}
	decoded = &subject{name: "decoded", crc: true, open: openInsyncRecords}
)

// peers are the other logs.
var peers = []*subject{
	{name: "pebble", crc: true, open: openPebble, reopen: reopenPebble},
	{name: "raft-wal", crc: true, open: openRaftWAL, reopen: durably(openRaftWAL)},
	{name: "etcd", crc: true, open: openEtcd, reopen: reopenEtcd},
	{name: "rosedb", crc: true, open: openRosedb, reopen: durably(openRosedb)},
	{name: "tidwall", open: openTidwall, reopen: durably(openTidwall)},
}

// durably is open as reopen.
func durably(open func(string, options) (store, error)) func(dir string) (store, error) {
	return func(dir string) (store, error) { return open(dir, options{durable: true, roll: true}) }
}
