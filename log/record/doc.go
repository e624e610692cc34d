// Package record is Kafka's RecordBatch v2: a view of encoded batches, a builder, a validator and a lazy reader.
package record
