// Package replication is one partition's replica: leader and follower roles, in-sync replicas, high watermark.
package replication
