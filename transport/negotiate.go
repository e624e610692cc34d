package transport

import (
	"errors"
	"io"
	"time"

	"github.com/insynclog/insync/internal/guard"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// negotiate asks for the versions that the node speaks.
func (l *lane) negotiate(conn *laneConn) (map[int16]VersionRange, error) {
	if err := conn.nc.SetDeadline(time.Now().Add(l.c.cfg.RequestTimeout)); err != nil {
		return nil, err
	}
	versions, err := negotiate(conn, l.c.cfg.ClientID)
	if err != nil {
		return nil, err
	}
	return versions, conn.nc.SetDeadline(time.Time{})
}

func negotiate(conn *laneConn, clientID string) (map[int16]VersionRange, error) {
	req := kmsg.NewPtrApiVersionsRequest()
	req.Version, req.ClientSoftwareName, req.ClientSoftwareVersion = 3, "insync", "1"
	for correlation := int32(-2); correlation < 0; correlation++ {
		resp, err := askVersions(conn, req, correlation, clientID)
		if err != nil {
			return nil, err
		}
		versions := make(map[int16]VersionRange, len(resp.ApiKeys))
		for _, k := range resp.ApiKeys {
			versions[k.ApiKey] = VersionRange{k.MinVersion, k.MaxVersion}
		}
		if resp.ErrorCode == 0 {
			return versions, nil
		}
		if resp.ErrorCode != kerr.UnsupportedVersion.Code || req.Version == 0 {
			return nil, kerr.ErrorForCode(resp.ErrorCode)
		}
		req.Version = min(req.Version-1, max(versions[keyApiVersions].Max, 0)) // old nodes send no list: 0
	}
	return nil, kerr.ErrorForCode(kerr.UnsupportedVersion.Code)
}

func askVersions(conn *laneConn, req *kmsg.ApiVersionsRequest, correlation int32, clientID string) (_ *kmsg.ApiVersionsResponse, err error) {
	var fb frameBuffer
	appendRequest(&fb, req, correlation, clientID)
	if _, err := fb.flush(conn.nc, conn.r.pool); err != nil {
		return nil, err
	}
	f, err := conn.r.next()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	got, rest, err := parseResponseHeader(f.b)
	if err != nil {
		return nil, err
	}
	if got != correlation {
		return nil, errUnexpected
	}
	defer recovered(&err)
	resp := kmsg.NewPtrApiVersionsResponse()
	if len(rest) >= 2 && int16(rest[0])<<8|int16(rest[1]) == kerr.UnsupportedVersion.Code {
		resp.Version = 0 // whatever was asked for
	} else {
		resp.Version = req.Version
	}
	if err := guard.Response(keyApiVersions, resp.Version, rest, guard.Budget(len(rest))); err != nil {
		return nil, err
	}
	return resp, resp.ReadFrom(rest)
}
