package story

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/insynclog/insync/cluster"
)

// nodes are three nodes of a cluster in this process, on real files, with TCP between them.
type nodes []*cluster.Node

func startNodes(ctx context.Context, dir string) (nodes, error) {
	const count = 3
	var voters []cluster.Voter
	var listeners []net.Listener
	for id := int32(1); id <= count; id++ {
		l, err := net.Listen("tcp", "127.0.0.1:0") // all ports first: every node has to know the others' addresses
		if err != nil {
			return nil, err
		}
		listeners = append(listeners, l)
		voters = append(voters, cluster.Voter{ID: id, Addr: l.Addr().String()})
	}
	all := make(nodes, count)
	errs := make([]error, count)
	var wg sync.WaitGroup
	for i, v := range voters {
		wg.Go(func() {
			all[i], errs[i] = cluster.Start(ctx, cluster.Config{
				NodeID: v.ID, Listener: listeners[i], Voters: voters, Dir: filepath.Join(dir, fmt.Sprintf("node-%d", v.ID)),
				Groups: cluster.GroupSettings{SessionTimeout: sessionTimeout, HeartbeatInterval: 200 * time.Millisecond},
			})
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		all.close()
		return nil, err
	}
	return all, nil
}

func (ns nodes) close() {
	var wg sync.WaitGroup
	for _, n := range ns {
		if n != nil {
			wg.Go(func() { n.Close() })
		}
	}
	wg.Wait()
}
