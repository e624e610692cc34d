package log

import (
	"log/slog"

	"github.com/insynclog/insync/internal/vfs"
)

// TopicID is a topic's uuid; the zero value is "none".
type TopicID [16]byte

// String is the 22-character base64url form that Kafka prints.
func (id TopicID) String() string { panic("stub") }

// DirectoryConfig sets up a Directory.
type DirectoryConfig struct {
	FS     vfs.FS // nil = the operating system's
	NodeID int32
	Logger *slog.Logger
}

// Directory is a node's data directory: identity (meta.properties), lock, clean-shutdown marker, checkpoints and one sub-directory per log.
type Directory struct{ _ int }

// OpenDirectory opens or creates a node's data directory. It takes the lock, reads or creates meta.properties (directory.id is created here; cluster.id later, see SetClusterID),
// reads the clean-shutdown marker and removes it durably, and reads the checkpoints. Logs are opened one by one.
// Errors: ErrDirectoryLocked, *IdentityError (another node's directory), *ForeignDirectoryError (files that are neither ours nor Kafka's).
func OpenDirectory(path string, c DirectoryConfig) (*Directory, error) { panic("stub") }

func (d *Directory) Path() string      { panic("stub") }
func (d *Directory) ID() TopicID       { panic("stub") } // directory.id
func (d *Directory) ClusterID() string { panic("stub") } // "" until known

// SetClusterID stores the cluster's id, durable on return. Error: *IdentityError when another one is stored.
func (d *Directory) SetClusterID(id string) error { panic("stub") }

// Clean tells whether the last stop was clean, and the broker epoch that the marker held (-1 without).
func (d *Directory) Clean() (clean bool, brokerEpoch int64) { panic("stub") }

// LogEntry is one partition directory found on disk.
type LogEntry struct {
	Topic     string
	Partition int32
	TopicID   TopicID // zero if partition.metadata is missing
}

// Logs lists the partition directories (without __cluster_metadata-0, without those renamed -delete or -stray).
func (d *Directory) Logs() ([]LogEntry, error) { panic("stub") }

// OpenLog opens the partition's log, recovering it if the last stop was not clean, or creates it (partition.metadata first, durable).
// Error *TopicIDError: the directory belongs to another incarnation of the topic. Safe for concurrent use with different partitions.
func (d *Directory) OpenLog(topic string, partition int32, id TopicID, c Config) (*Log, error) {
	panic("stub")
}

// DeleteLog closes l and removes its directory: renamed to -delete first, durable, then removed.
func (d *Directory) DeleteLog(l *Log) error { panic("stub") }

// SetAside renames a directory that nobody claims to -stray (never deletes data because metadata is missing: fault-model P12).
func (d *Directory) SetAside(e LogEntry) error { panic("stub") }

// Checkpoint writes recovery points, high watermarks and log start offsets of all open logs; the node calls it periodically.
func (d *Directory) Checkpoint() error { panic("stub") }

// Close closes all logs in parallel, writes the checkpoints and, if all closed without error, the clean-shutdown marker with brokerEpoch, then lets the lock go.
func (d *Directory) Close(brokerEpoch int64) error { panic("stub") }

// Abandon closes files and lets the lock go without writing anything: what a crash leaves, for tests and for nodes that can no longer be right.
func (d *Directory) Abandon() { panic("stub") }
