package record

import "iter"

// Reader iterates over the records of batches, decompressing them into memory that it keeps for the next batch.
// The zero value is ready. It allocates nothing per record. It is not safe for concurrent use.
type Reader struct {
	_ int
}

// Reset starts the iteration over b. maxDecompressed bounds the size in bytes of the decompressed records; 0 means 128 MiB.
func (r *Reader) Reset(b Batch, maxDecompressed int) error { panic("stub") }

// Next moves to the next record; false at the end or on an error (see Err).
func (r *Reader) Next() bool { panic("stub") }

// Record is the current record. It and its bytes are valid until the next call of Next or Reset. Topic and Partition are not set.
func (r *Reader) Record() *Record { panic("stub") }

// Err returns what ended the iteration early: *InvalidError, *CorruptError, *TooLargeError.
func (r *Reader) Err() error { panic("stub") }

// All iterates over the records of b. The *Record is reused: Clone keeps one.
func (b Batch) All() iter.Seq2[*Record, error] { panic("stub") }
