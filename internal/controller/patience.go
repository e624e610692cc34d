package controller

import (
	"errors"
	"time"

	"github.com/insynclog/insync/log"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// fullRetry is how long what a full disk has refused waits for the next attempt.
	fullRetry = 100 * time.Millisecond
	// checkpointRetry is that of a checkpoint, without which the node goes on.
	checkpointRetry = 10 * time.Second
)

// errStopping ends the goroutine when the node closes while it waits for space.
var errStopping = errors.New("controller: closing")

func isFull(err error) bool {
	_, full := errors.AsType[*log.FullError](err)
	return full
}

// patiently repeats what a full disk refuses, which has changed nothing, until there is space or the node closes. Meanwhile the node says nothing in the quorum, as one that stands still: another voter, whose disk
// is not full, leads soon. Requests are refused at once. Before Start has returned nothing is repeated.
func (d *driver) patiently(f func() error) error {
	err := f()
	if !isFull(err) || !d.running {
		return err
	}
	d.log.Error("metadata quorum: the disk is full: this node waits for space", "err", err)
	if !d.members.sole(d.id) {
		d.c.leader.Store(&leadership{node: -1, term: int64(d.term)})
		d.c.changed()
	}
	retry := time.NewTicker(fullRetry)
	defer retry.Stop()
	for isFull(err) {
		d.turnAway()
		select {
		case <-d.c.stop:
			return errStopping
		case <-d.c.wake:
		case <-retry.C:
			err = f()
		}
	}
	if err == nil {
		d.log.Info("metadata quorum: there is space again")
	}
	return err
}

// turnAway refuses what waits for the driver, and drops what peers have sent, which raft repeats.
func (d *driver) turnAway() {
	c := d.c
	c.mu.Lock()
	d.calls = append(d.calls, c.mu.calls...)
	c.mu.calls, c.mu.inbox, c.mu.inboxBytes = nil, nil, 0
	c.mu.Unlock()
	why := kerr.NotController
	if d.members.sole(d.id) {
		why = noSpace
	}
	d.refuse(d.calls, why)
	d.calls = d.calls[:0]
}

// noSpace is KAFKA_STORAGE_ERROR, which may be tried again.
var noSpace = &kerr.Error{Message: kerr.KafkaStorageError.Message, Code: kerr.KafkaStorageError.Code, Retriable: true, Description: "The disk of the active controller is full"}

// spends tells whether a request only adds to metadata: when most of the ballast is gone, what is left is for those that make space, and for what the cluster does by itself.
func spends(req kmsg.Request) bool {
	switch req.(type) {
	case *kmsg.CreateTopicsRequest, *kmsg.CreatePartitionsRequest, *kmsg.CreateACLsRequest, *kmsg.AlterUserSCRAMCredentialsRequest, *kmsg.AlterClientQuotasRequest:
		return true
	}
	return false
}

// checkpoint makes a checkpoint if one is due. It can wait for space.
func (d *driver) checkpoint(now time.Time) error {
	if d.store.sinceBytes < d.c.c.SnapshotBytes || d.c.image.Load().Offset < d.store.checkpointEnd || now.Before(d.nextCheckpoint) {
		return nil
	}
	err := d.store.checkpoint(d.c.image.Load())
	if isFull(err) {
		d.log.Warn("metadata quorum: the disk has no space for a checkpoint", "err", err)
		d.nextCheckpoint = now.Add(checkpointRetry)
		return nil
	}
	return err
}
