package broker

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestListConfigResources(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHarness(t, 2, nil)
		h.create(1, "b", 1, 1)
		h.create(1, "a", 1, 1)
		h.nodes[2].stop(true) // it is still registered
		ask := func(version int16, types ...int8) ([]string, int16) {
			req := kmsg.NewPtrListConfigResourcesRequest()
			req.Version, req.ResourceTypes = version, types
			resp := call[*kmsg.ListConfigResourcesResponse](h.nodes[1], req)
			assert.Equal(t, version, resp.Version)
			var list []string
			for _, c := range resp.ConfigResources {
				list = append(list, fmt.Sprint(c.Type, " ", c.Name))
			}
			return list, resp.ErrorCode
		}
		for _, c := range []struct {
			version int16
			types   []int8
			want    []string
			code    int16
		}{
			{0, nil, nil, 0}, // subscriptions of client metrics
			{1, nil, []string{"2 a", "2 b", "4 1", "4 2", "8 1", "8 2"}, 0},
			{1, []int8{2}, []string{"2 a", "2 b"}, 0},
			{1, []int8{4, 2, 4}, []string{"2 a", "2 b", "4 1", "4 2"}, 0},
			{1, []int8{8}, []string{"8 1", "8 2"}, 0},
			{1, []int8{16, 32}, nil, 0},
			{1, []int8{2, 3}, nil, kerr.UnsupportedVersion.Code},
			{1, []int8{0}, nil, kerr.UnsupportedVersion.Code},
			{1, []int8{-128}, nil, kerr.UnsupportedVersion.Code},
		} {
			list, code := ask(c.version, c.types...)
			assert.Equal(t, c.want, list, "%v", c.types)
			assert.Equal(t, c.code, code, "%v", c.types)
		}
	})
}
