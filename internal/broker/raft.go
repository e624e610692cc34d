package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"

	"github.com/insynclog/insync/log"
	"github.com/insynclog/insync/transport"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// KeyRaft is the private API key under which nodes send each other the messages of the metadata quorum.
const KeyRaft int16 = 32100

// Raft messages (32100), version 0, between nodes only. Body of the request:
//
//	int32 node id, string address, 16 bytes directory id, int32 count, then count × (int32 length, length bytes)
//
// The sender says who and where it is, for it may be a member that the receiver does not know of yet. The string has a uint16 length in front. The response has no body: it only tells that the messages arrived. Nothing is lost by losing one, raft repeats itself.

// RaftRequest carries encoded raft messages to a peer.
type RaftRequest struct {
	From        int32
	Addr        string      // of the sender; "" if it does not listen
	DirectoryID log.TopicID // of the sender's disk: who has its id later, on another one, did not say what it says
	Messages    [][]byte
}

// RaftResponse answers a RaftRequest.
type RaftResponse struct{}

var (
	_ kmsg.Request  = (*RaftRequest)(nil)
	_ kmsg.Response = (*RaftResponse)(nil)
)

var errMalformedRaft = errors.New("broker: malformed raft request")

// Key and the methods after it implement kmsg.Request.
func (*RaftRequest) Key() int16                  { return KeyRaft }
func (*RaftRequest) MaxVersion() int16           { return 0 } // MaxVersion is 0.
func (*RaftRequest) SetVersion(int16)            {}           // SetVersion does nothing.
func (*RaftRequest) GetVersion() int16           { return 0 } // GetVersion is 0.
func (*RaftRequest) IsFlexible() bool            { return false }
func (*RaftRequest) ResponseKind() kmsg.Response { return &RaftResponse{} } // ResponseKind is a *RaftResponse.

// AppendTo appends the encoded request.
func (r *RaftRequest) AppendTo(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(r.From))
	dst = append(binary.BigEndian.AppendUint16(dst, uint16(len(r.Addr))), r.Addr...)
	dst = append(dst, r.DirectoryID[:]...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(r.Messages)))
	for _, m := range r.Messages {
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(m)))
		dst = append(dst, m...)
	}
	return dst
}

// ReadFrom decodes a request. The messages share src's memory.
func (r *RaftRequest) ReadFrom(src []byte) error {
	if len(src) < 6 {
		return errMalformedRaft
	}
	r.From = int32(binary.BigEndian.Uint32(src))
	n := int(binary.BigEndian.Uint16(src[4:]))
	if src = src[6:]; len(src) < n+len(r.DirectoryID)+4 {
		return errMalformedRaft
	}
	r.Addr, src = string(src[:n]), src[n:]
	src = src[copy(r.DirectoryID[:], src):]
	count := binary.BigEndian.Uint32(src)
	src = src[4:]
	if uint64(count) > uint64(len(src))/4 { // a message takes four bytes at least
		return errMalformedRaft
	}
	r.Messages = make([][]byte, 0, count)
	for range count {
		if len(src) < 4 {
			return errMalformedRaft
		}
		n := binary.BigEndian.Uint32(src)
		src = src[4:]
		if uint64(n) > uint64(len(src)) {
			return errMalformedRaft
		}
		r.Messages = append(r.Messages, src[:n:n])
		src = src[n:]
	}
	if len(src) != 0 {
		return errMalformedRaft
	}
	return nil
}

// Key and the methods after it implement kmsg.Response.
func (*RaftResponse) Key() int16                 { return KeyRaft }
func (*RaftResponse) MaxVersion() int16          { return 0 } // MaxVersion is 0.
func (*RaftResponse) SetVersion(int16)           {}           // SetVersion does nothing.
func (*RaftResponse) GetVersion() int16          { return 0 } // GetVersion is 0.
func (*RaftResponse) IsFlexible() bool           { return false }
func (*RaftResponse) AppendTo(dst []byte) []byte { return dst } // AppendTo appends nothing.

// RequestKind returns a *RaftRequest.
func (*RaftResponse) RequestKind() kmsg.Request { return &RaftRequest{} }

// ReadFrom accepts an empty body only.
func (*RaftResponse) ReadFrom(src []byte) error {
	if len(src) != 0 {
		return errMalformedRaft
	}
	return nil
}

// raft hands messages of a peer to the quorum.
func (b *Broker) raft(ctx context.Context, r *transport.Request, reply func(transport.Reply)) {
	req := r.Message.(*RaftRequest)
	b.SetPeer(req.From, req.Addr)
	b.callers.called(ctx, r, req.From)
	if ctl := b.ctl.Load(); ctl != nil {
		ctl.Step(req.DirectoryID, req.Messages)
	}
	reply(transport.Reply{Message: &RaftResponse{}})
}

// Bounds of what is on its way to one peer; what exceeds them is dropped.
const (
	maxRaftRequests = 64
	maxRaftBytes    = 16 << 20
)

// raftSender sends raft messages over the peers' private connections. It has no goroutine: the transport's queue is the queue, and this bounds it.
type raftSender struct {
	mu    sync.Mutex
	peers map[int32]*raftPeer
	addrs map[int32]string // as last told, by the controller or by the peer itself
}

type raftPeer struct{ requests, bytes int }

// take makes room for n bytes on the way to a peer.
func (s *raftSender) take(to int32, n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.peers[to]
	if p == nil {
		if s.peers == nil {
			s.peers = make(map[int32]*raftPeer)
		}
		p = &raftPeer{}
		s.peers[to] = p
	}
	if p.requests >= maxRaftRequests || (p.bytes > 0 && p.bytes+n > maxRaftBytes) {
		return false
	}
	p.requests++
	p.bytes += n
	return true
}

func (s *raftSender) give(to int32, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.peers[to]
	p.requests--
	p.bytes -= n
}

// SendRaft queues raft messages for a peer; it never blocks. What exceeds the bounds, and what a broken connection loses, is dropped. For controller.Config.Send.
func (b *Broker) SendRaft(to int32, msgs [][]byte) {
	n := 0
	for _, m := range msgs {
		n += len(m)
	}
	if n == 0 || to == b.c.NodeID || !b.raftOut.take(to, n) {
		return
	}
	b.peers.Send(b.ctx, to, &RaftRequest{From: b.c.NodeID, Addr: b.c.Addr, DirectoryID: b.c.Directory.ID(), Messages: msgs}, func(r transport.Response, err error) {
		b.raftOut.give(to, n)
		if ctl := b.ctl.Load(); ctl != nil && transport.Refused(err) && !b.callers.connected(to) {
			ctl.Refused(to)
		}
		if r.Release != nil {
			r.Release()
		}
	})
}

// SetPeer takes the address of a member of the quorum, which may have no registration yet, or one that this node has not seen. It never blocks. For controller.Config.Peer.
func (b *Broker) SetPeer(id int32, addr string) {
	if id < 0 || id == b.c.NodeID || addr == "" {
		return
	}
	s := &b.raftOut
	s.mu.Lock()
	known := s.addrs[id] == addr
	if !known {
		if s.addrs == nil {
			s.addrs = make(map[int32]string)
		}
		s.addrs[id] = addr
	}
	s.mu.Unlock()
	if !known {
		b.peers.SetNode(transport.Node{ID: id, Addr: addr})
	}
}

// peerAddr is the address of a member as last told.
func (b *Broker) peerAddr(id int32) string {
	if id == b.c.NodeID {
		return b.c.Addr
	}
	b.raftOut.mu.Lock()
	defer b.raftOut.mu.Unlock()
	return b.raftOut.addrs[id]
}
