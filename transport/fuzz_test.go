package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"sync"
	"testing"

	"github.com/insynclog/insync/internal/fuzztest"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// FuzzRequestHeader parses arbitrary headers: no panic, nothing outside the frame, and what kmsg writes is read back.
func FuzzRequestHeader(f *testing.F) {
	for _, req := range []kmsg.Request{listOffsets(1), listOffsets(11), produceRequest(-1, []byte("x"))} {
		f.Add(kmsg.NewRequestFormatter(kmsg.FormatterClientID("id")).AppendRequest(nil, req, 7)[4:])
	}
	f.Add([]byte{0, 18, 0, 3, 0, 0, 0, 1, 0xff, 0xff, 2, 1, 0, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzztest.Bounded(t, len(b), func() {
			if _, rest, err := parseRequestHeader(b); err == nil {
				_, _, _ = parseHeaderTail(rest, true, "id")
			}
		})
		h, rest, err := parseRequestHeader(b)
		if err != nil {
			return
		}
		require.Equal(t, len(b)-requestHeaderBytes, len(rest))
		for _, flexible := range []bool{false, true} {
			id, body, err := parseHeaderTail(rest, flexible, "id")
			if err != nil {
				continue
			}
			require.True(t, bytes.HasSuffix(rest, body))
			require.LessOrEqual(t, len(id)+2+len(body), len(rest))
		}
		var again []byte
		again = binary.BigEndian.AppendUint16(again, uint16(h.key))
		again = binary.BigEndian.AppendUint16(again, uint16(h.version))
		again = binary.BigEndian.AppendUint32(again, uint32(h.correlation))
		require.Equal(t, b[:requestHeaderBytes], again)
	})
}

// FuzzServerConn feeds a connection of a server arbitrary bytes whose bodies go no further than the header: the connection ends, nothing else does.
func FuzzServerConn(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 0})
	f.Add([]byte{0, 0, 0, 9, 0, 18, 0x7f, 0xff, 0, 0, 0, 3, 0xee, 0, 0, 0, 9, 0, 18, 0x7f, 0xff, 0, 0, 0, 3, 0xee})
	f.Add(kmsg.NewRequestFormatter().AppendRequest(nil, &rawBody{}, 1))
	node := newFakeNode(1)
	node.versions = map[int16]VersionRange{18: {0, 4}, 32001: {0, 0}}
	node.hook(18, func(_ context.Context, r *Request, reply func(Reply)) { reply(Reply{}) })
	node.hook(32001, func(_ context.Context, r *Request, reply func(Reply)) { reply(Reply{}) })
	s, err := NewServer(ServerConfig{Handler: node, NewRequest: func(key int16) kmsg.Request { return &rawBody{key: key} }, Limits: Limits{Frame: 1 << 16}})
	require.NoError(f, err)
	defer s.Close()
	f.Fuzz(func(t *testing.T, b []byte) {
		m := NewMem()
		l, err := m.Host("a").Listen(t.Context(), ":0")
		require.NoError(t, err)
		nc, err := m.Host("a").Dial(t.Context(), l.Addr().String())
		require.NoError(t, err)
		far, err := l.Accept()
		require.NoError(t, err)
		l.Close()
		var wg sync.WaitGroup
		wg.Go(newServerConn(s, far).run)
		_, _ = nc.Write(b)
		_ = nc.(interface{ CloseWrite() error }).CloseWrite()
		r := newFrameReader(nc, new(framePool), 1<<16, 0)
		for {
			if _, err := r.next(); err != nil {
				break
			}
		}
		nc.Close()
		wg.Wait()
	})
}

// rawBody is a request and a response of which nothing is parsed.
type rawBody struct {
	key     int16
	version int16
	body    []byte
}

func (r *rawBody) Key() int16                  { return r.key }
func (r *rawBody) MaxVersion() int16           { return 4 }
func (r *rawBody) SetVersion(v int16)          { r.version = v }
func (r *rawBody) GetVersion() int16           { return r.version }
func (r *rawBody) IsFlexible() bool            { return r.version%2 == 1 }
func (r *rawBody) AppendTo(b []byte) []byte    { return append(b, r.body...) }
func (r *rawBody) ReadFrom(b []byte) error     { r.body = b; return nil }
func (r *rawBody) ResponseKind() kmsg.Response { return nil }

var _ net.Conn = (*memConn)(nil)
