// Package consumer reads records from partitions of a Kafka cluster.
package consumer
