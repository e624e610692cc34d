// Package clustertest starts real clusters for tests, in the manner of net/http/httptest: nodes with elections, replication and fsync, on disks in memory and a network in memory that can be cut.
//
//	func TestFailover(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) { // virtual time: minutes pass in milliseconds
//			c := clustertest.New(t, clustertest.Config{Nodes: 3})
//			c.CreateTopic("orders", 1, 3)
//			c.Produce("orders", []byte("one"))
//			c.Crash(c.Leader("orders", 0)) // power loss: what was not synced is gone
//			c.Produce("orders", []byte("two")) // retried until the next leader acknowledges
//			require.Len(t, c.ReadAll("orders"), 2)
//		})
//	}
//
// Everything works inside a testing/synctest bubble and outside. A Cluster fails its test on errors, and is closed by the test's Cleanup. It is not safe for concurrent use; its nodes and clients are.
package clustertest
