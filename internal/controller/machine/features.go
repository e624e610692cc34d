package machine

import (
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// updateFeatures answers UpdateFeatures (KIP-584, KIP-778): the level of the metadata is raised, if all who register and all who follow the metadata log know it. All updates are made, or none.
func (b *Batch) updateFeatures(req *kmsg.UpdateFeaturesRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.UpdateFeaturesResponse)
	level := b.d.img.Level
	for i := range req.FeatureUpdates {
		u := &req.FeatureUpdates[i]
		if reason := b.refusedUpdate(u); reason != "" {
			text := fmt.Sprintf("The update failed for all features since the following feature had an error: Invalid update version %d for feature %.100s. %s", u.MaxVersionLevel, u.Feature, reason)
			resp.ErrorCode, resp.ErrorMessage = kerr.InvalidUpdateVersion.Code, &text
			return resp
		}
		level = u.MaxVersionLevel
	}
	if !req.ValidateOnly && level > b.d.img.Level {
		b.add(&FeatureLevel{Level: level})
	}
	return resp
}

// refusedUpdate says why an update cannot be, with what Kafka looks at first; "" if it can.
func (b *Batch) refusedUpdate(u *kmsg.UpdateFeaturesRequestFeatureUpdate) string {
	const upgrade, unsafeDowngrade = 1, 3
	kind, level := u.UpgradeType, u.MaxVersionLevel
	img := b.d.img
	switch {
	case kind < upgrade || kind > unsafeDowngrade:
		return "The given upgrade type is not supported."
	case level < 0:
		return "A feature version cannot be less than 0."
	case u.Feature != FeatureName || b.m.c.Levels.Highest() < LevelLevels:
		return "No node supports this feature."
	case level == 0:
		return "The metadata always has a level."
	case level > b.m.c.Levels.Highest():
		return fmt.Sprintf("Controller: supported are levels from %d to %d.", LevelBase, b.m.c.Levels.Highest())
	case level < img.Level && kind == upgrade:
		return "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade."
	case level > img.Level && kind != upgrade:
		return "Can't downgrade to a newer version."
	case level < img.Level:
		return "Refusing to perform the requested downgrade: older versions cannot read what is in the metadata log."
	}
	for _, id := range img.BrokerIDs() {
		if known := max(img.Brokers[id].Known, LevelBase); level > known {
			return fmt.Sprintf("Broker %d supports levels from %d to %d.", id, LevelBase, known)
		}
	}
	if level > img.Level && img.Quorum != nil {
		for _, m := range img.Quorum.Members {
			if img.Brokers[m.ID] == nil {
				return fmt.Sprintf("Node %d follows the metadata log, has not registered, and may not support this level.", m.ID)
			}
		}
	}
	return ""
}

// registeredLevel is what a registration says of the level up to which the broker knows the metadata, as this controller understands it: 0 if it says nothing.
func (b *Batch) registeredLevel(req *kmsg.BrokerRegistrationRequest) (known int16) {
	if b.m.c.Levels.Highest() < LevelLevels {
		return 0
	}
	for i := range req.Features {
		if f := &req.Features[i]; f.Name == FeatureName && f.MaxSupportedVersion >= LevelBase {
			known = f.MaxSupportedVersion
		}
	}
	return known
}

// SetKnown puts into a registration up to which level its sender knows the metadata.
func (l *Levels) SetKnown(req *kmsg.BrokerRegistrationRequest) {
	if l.Highest() < LevelLevels {
		return
	}
	f := kmsg.NewBrokerRegistrationRequestFeature()
	f.Name, f.MinSupportedVersion, f.MaxSupportedVersion = FeatureName, LevelBase, l.Highest()
	req.Features = append(req.Features, f)
}

// SetStillKnown repeats that in a heartbeat: the controller that took the registration may have been too old to write it down.
func (l *Levels) SetStillKnown(req *kmsg.BrokerHeartbeatRequest) {
	if l.Highest() >= LevelLevels {
		req.UnknownTags.Set(tagStillKnown, binary.AppendVarint(nil, int64(l.Highest())))
	}
}

// noteLevel writes down what a heartbeat says of the level that the broker knows, if metadata does not.
func (b *Batch) noteLevel(req *kmsg.BrokerHeartbeatRequest) {
	if b.m.c.Levels.Highest() < LevelLevels {
		return
	}
	req.UnknownTags.Each(func(tag uint32, body []byte) {
		if tag != tagStillKnown {
			return
		}
		known, n := binary.Varint(body)
		br := *b.d.img.Brokers[req.BrokerID]
		if n != len(body) || n == 0 || int64(int16(known)) != known || int16(known) <= br.Known {
			return
		}
		br.Known = int16(known)
		b.add(&RegisterBroker{br})
	})
}

// tooOld tells whether a node that knows so much (0: it did not say) cannot follow the metadata.
func (b *Batch) tooOld(known int16) bool { return max(known, LevelBase) < b.d.img.Level }

// setLevel puts the cluster's level into the answer to a registration that was refused for it.
func setLevel(resp *kmsg.BrokerRegistrationResponse, level int16) {
	resp.UnknownTags.Set(tagLevel, binary.AppendVarint(nil, int64(level)))
}

// RefusedLevel is what a node makes of the answer that its registration is refused with for the level of the metadata.
func (l *Levels) RefusedLevel(resp *kmsg.BrokerRegistrationResponse) *LevelError {
	e := &LevelError{Known: l.Highest()}
	resp.UnknownTags.Each(func(tag uint32, body []byte) {
		if level, n := binary.Varint(body); tag == tagLevel && n > 0 {
			e.Level = int16(level)
		}
	})
	return e
}
