package controller

import (
	"errors"
	"fmt"
	"strings"

	"github.com/insynclog/insync/internal/controller/machine"
)

// ErrUnknownRecord says that a newer version wrote the metadata; a *LevelError is one, too.
var ErrUnknownRecord = machine.ErrUnknownRecord

// ErrClosed is returned after Close.
var ErrClosed = errors.New("controller: closed")

// VotersError says that the list of voters is not the one that this node's quorum was made with, and that nothing has changed since. The list founds a quorum, and does not change it: start the node with
// the stored one, and have others join.
type VotersError struct {
	Path          string
	Stored, Given []int32
}

// Error names both lists and what to do.
func (e *VotersError) Error() string {
	return fmt.Sprintf("%s: this node belongs to a quorum of voters %v, not %v: start it with the stored list", e.Path, e.Stored, e.Given)
}

// ClusterIDError says that the metadata belongs to another cluster.
type ClusterIDError struct{ Dir, Stored, Given string }

// Error names both clusters.
func (e *ClusterIDError) Error() string {
	return fmt.Sprintf("%s: the metadata belongs to cluster %s, not %s", e.Dir, e.Stored, e.Given)
}

// ConfigError lists all problems of a Config.
type ConfigError struct{ Problems []string }

// Error joins the problems.
func (e *ConfigError) Error() string { return "controller config: " + strings.Join(e.Problems, "; ") }
