package record

// BuilderConfig says what batches a Builder makes.
type BuilderConfig struct {
	Codec Codec
	Level int // compression level; 0 is the codec's default (as in Kafka: gzip -1, lz4 9, zstd 3)

	Transactional bool
}

// Builder encodes records into one RecordBatch v2 after another, reusing its memory. It allocates nothing per record.
type Builder struct {
	_ int
}

// NewBuilder returns an empty builder.
func NewBuilder(c BuilderConfig) *Builder { panic("stub") }

// Append adds a record (Key, Value, Headers, Timestamp; a zero Timestamp counts as now). Its bytes are copied.
func (b *Builder) Append(r *Record) { panic("stub") }

// AppendSize returns the number of bytes by which Append(r) would grow the uncompressed batch.
func (b *Builder) AppendSize(r *Record) int { panic("stub") }

// Size returns the size in bytes that the batch would have now without compression, header included.
func (b *Builder) Size() int { panic("stub") }

// Len returns the number of records in the batch so far.
func (b *Builder) Len() int { panic("stub") }

// SetProducer sets producer id, epoch and base sequence of the batch under construction; without it they are -1.
func (b *Builder) SetProducer(id int64, epoch int16, baseSequence int32) { panic("stub") }

// Build appends the encoded batch to dst (base offset 0, leader epoch -1) and returns the extended slice; the batch is what was added.
// The builder is unchanged; Reset empties it. Building an empty batch is an error.
func (b *Builder) Build(dst []byte) ([]byte, error) { panic("stub") }

// Reset empties the builder and keeps its memory.
func (b *Builder) Reset() { panic("stub") }
