package clustertest

import (
	"context"

	"github.com/insynclog/insync/cluster"
	"github.com/insynclog/insync/internal/controller"
	"github.com/insynclog/insync/internal/vfs"
)

// Disk is the disk of a node, also while it is down.
func (c *Cluster) Disk(id int32) *vfs.Mem {
	_, disk := c.now(c.member(id))
	return disk
}

// Replace gives a node that is down another disk.
func (c *Cluster) Replace(id int32, disk *vfs.Mem) { c.down(c.member(id), disk) }

// Prepare returns what starts a node that is down, with the disk it has now. The caller Adopts the node: the disk may crash under the start.
func (c *Cluster) Prepare(id int32) func(context.Context) (*cluster.Node, error) {
	config := c.member(id).config
	config.FS = c.Disk(id)
	return func(ctx context.Context) (*cluster.Node, error) { return cluster.Start(ctx, config) }
}

// Adopt makes a node that was started the cluster's; nil says that it is down.
func (c *Cluster) Adopt(id int32, n *cluster.Node) {
	m := c.member(id)
	c.mu.Lock()
	defer c.mu.Unlock()
	m.node = n
}

// PowerOff crashes the disk under a node, which is left to find out.
func (c *Cluster) PowerOff(id int32, mode vfs.CrashMode) {
	left := c.Disk(id).Crash(mode, c.random())
	m := c.member(id)
	c.mu.Lock()
	defer c.mu.Unlock()
	m.disk = left
}

// NewDisk is an empty disk.
func NewDisk() *vfs.Mem { return vfs.NewMem() }

// Broken lists the rules that Check finds broken.
func (h *History) Broken() (rules []string) {
	for _, a := range h.judge().Anomalies {
		rules = append(rules, a.Rule)
	}
	return rules
}

// Move has a node that is down listen elsewhere from its next start on.
func (c *Cluster) Move(id int32, addr string) { c.member(id).config.Listen = addr }

// Version has a node that is down know another format of metadata from its next start on; nil is this version's.
func (c *Cluster) Version(id int32, levels *controller.Levels) { c.member(id).config.Levels = levels }
