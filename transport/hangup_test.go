package transport

import (
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// hangUp is a node that closes the connection instead of answering.
type hangUp struct{}

func (hangUp) Versions() map[int16]VersionRange { return map[int16]VersionRange{0: {3, 13}} }

func (hangUp) Serve(_ context.Context, _ *Request, reply func(Reply)) { reply(Reply{Close: true}) }

func TestDirectHangUpIsAnError(t *testing.T) {
	c, err := NewClient(ClientConfig{Local: &Local{NodeID: 1, Handler: hangUp{}}})
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Request(t.Context(), 1, kmsg.NewPtrProduceRequest())
	var ce *ConnError
	require.ErrorAs(t, err, &ce)
	require.True(t, ce.Sent)
	require.ErrorIs(t, err, io.EOF)
}
