// Command storage measures the log of one partition beside a raw limit and beside other write-ahead logs, in one run, and prints a table.
//
//	go run .                    five rounds of every row, under ten minutes
//	go run . -rows durable      the rows that have "durable" in their title
//	go run . -short             every row once, for a moment: does it run?
//
// A row is a task: records of one size, batches of one length, one writer or 64, in the page cache or on the disk. In each round all logs do the task one after the other, each in a new
// directory and in an order that moves with the round. A figure is the median of the rounds; a ratio is the median of the rounds' ratios, which what else runs on the machine disturbs less.
//
// # What is compared
//
// A batch is acknowledged when append returns, and that means the same for all: in the page cache, so that it outlives the process; or with the durable rows on the disk, fsync or fdatasync included.
// What differs otherwise is told at the types of the stores and in README.md one directory up.
//
// The column "insync" appends batches as a producer has encoded them, by Log.Append as the leader of a partition does: it takes the CRC, looks at every record's fields, and writes the
// batch with a header of its own. The other logs take single records and encode them in the call, so "encoded" is the same append with the encoding by record.Builder in front of it, and it is this one
// that is held against the others. Likewise "decoded" is reading record by record, where "insync" takes whole batches and checks their CRC.
package main
