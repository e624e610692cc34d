package cluster

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// LogDir is a data directory of a node.
type LogDir struct {
	Path        string
	Err         error // kerr.KafkaStorageError: its disk has failed
	TotalBytes  int64 // of the disk; -1 unknown
	UsableBytes int64 // left on it; -1 unknown
	Replicas    []LogDirReplica
}

// LogDirReplica is a replica in a data directory.
type LogDirReplica struct {
	TopicPartition
	Bytes  int64 // of the files with its records
	Lag    int64 // records that it lacks, up to the high watermark
	Future bool  // it is on its way here from another directory
}

// LogDirs describes the data directories of one node: what is in them, and how much room there is (KIP-113, KIP-827).
func (a *Admin) LogDirs(ctx context.Context, node int32) ([]LogDir, error) {
	resp, err := ask[*kmsg.DescribeLogDirsResponse](ctx, a, node, kmsg.NewPtrDescribeLogDirsRequest())
	if _, unknown := errors.AsType[*transport.UnknownNodeError](err); unknown {
		if _, err = a.nodes(ctx); err == nil { // tells the client where they are
			resp, err = ask[*kmsg.DescribeLogDirsResponse](ctx, a, node, kmsg.NewPtrDescribeLogDirsRequest())
		}
	}
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return nil, &AdminError{Op: "describe log directories of node", Name: strconv.Itoa(int(node)), Err: err}
	}
	var dirs []LogDir
	for _, d := range resp.Dirs {
		dir := LogDir{Path: d.Dir, Err: kerr.ErrorForCode(d.ErrorCode), TotalBytes: d.TotalBytes, UsableBytes: d.UsableBytes}
		for _, t := range d.Topics {
			for _, p := range t.Partitions {
				dir.Replicas = append(dir.Replicas, LogDirReplica{TopicPartition: TopicPartition{t.Topic, p.Partition}, Bytes: p.Size, Lag: p.OffsetLag, Future: p.IsFuture})
			}
		}
		slices.SortFunc(dir.Replicas, func(x, y LogDirReplica) int { return x.compare(y.TopicPartition) })
		dirs = append(dirs, dir)
	}
	return dirs, nil
}
