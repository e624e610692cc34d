package machine

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Refuse answers a whole request with one error, wherever its response has room for one: NOT_CONTROLLER, REQUEST_TIMED_OUT. It returns nil for a request that the
// controller does not answer.
func Refuse(req kmsg.Request, e *kerr.Error) kmsg.Response {
	message := e.Description
	switch req := req.(type) {
	case *kmsg.CreateTopicsRequest:
		resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
		for i := range req.Topics {
			out := kmsg.NewCreateTopicsResponseTopic()
			out.Topic, out.ErrorCode, out.ErrorMessage = req.Topics[i].Topic, e.Code, &message
			resp.Topics = append(resp.Topics, out)
		}
		return resp
	case *kmsg.DeleteTopicsRequest:
		return refuseDelete(req, e)
	case *kmsg.CreatePartitionsRequest:
		resp := req.ResponseKind().(*kmsg.CreatePartitionsResponse)
		for i := range req.Topics {
			out := kmsg.NewCreatePartitionsResponseTopic()
			out.Topic, out.ErrorCode, out.ErrorMessage = req.Topics[i].Topic, e.Code, &message
			resp.Topics = append(resp.Topics, out)
		}
		return resp
	case *kmsg.IncrementalAlterConfigsRequest:
		resp := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
		for i := range req.Resources {
			out := kmsg.NewIncrementalAlterConfigsResponseResource()
			out.ResourceType, out.ResourceName = req.Resources[i].ResourceType, req.Resources[i].ResourceName
			out.ErrorCode, out.ErrorMessage = e.Code, &message
			resp.Resources = append(resp.Resources, out)
		}
		return resp
	case *kmsg.AlterConfigsRequest:
		resp := req.ResponseKind().(*kmsg.AlterConfigsResponse)
		for i := range req.Resources {
			out := kmsg.NewAlterConfigsResponseResource()
			out.ResourceType, out.ResourceName = req.Resources[i].ResourceType, req.Resources[i].ResourceName
			out.ErrorCode, out.ErrorMessage = e.Code, &message
			resp.Resources = append(resp.Resources, out)
		}
		return resp
	case *kmsg.UpdateFeaturesRequest:
		resp := req.ResponseKind().(*kmsg.UpdateFeaturesResponse)
		resp.ErrorCode, resp.ErrorMessage = e.Code, &message
		return resp
	case *kmsg.UnregisterBrokerRequest:
		resp := req.ResponseKind().(*kmsg.UnregisterBrokerResponse)
		resp.ErrorCode, resp.ErrorMessage = e.Code, &message
		return resp
	case *kmsg.ElectLeadersRequest:
		return refuseElections(req, e)
	case *kmsg.AlterPartitionAssignmentsRequest:
		resp := req.ResponseKind().(*kmsg.AlterPartitionAssignmentsResponse)
		resp.ErrorCode, resp.ErrorMessage = e.Code, &message
		return resp
	case *kmsg.ListPartitionReassignmentsRequest:
		resp := req.ResponseKind().(*kmsg.ListPartitionReassignmentsResponse)
		resp.ErrorCode, resp.ErrorMessage = e.Code, &message
		return resp
	case *kmsg.AlterUserSCRAMCredentialsRequest:
		return refuseScram(req, e)
	case *kmsg.AlterClientQuotasRequest:
		resp := req.ResponseKind().(*kmsg.AlterClientQuotasResponse)
		for i := range req.Entries {
			out := kmsg.NewAlterClientQuotasResponseEntry()
			out.ErrorCode, out.ErrorMessage = e.Code, &message
			for _, part := range req.Entries[i].Entity {
				op := kmsg.NewAlterClientQuotasResponseEntryEntity()
				op.Type, op.Name = part.Type, part.Name
				out.Entity = append(out.Entity, op)
			}
			resp.Entries = append(resp.Entries, out)
		}
		return resp
	case *kmsg.CreateACLsRequest:
		resp := req.ResponseKind().(*kmsg.CreateACLsResponse)
		for range req.Creations {
			out := kmsg.NewCreateACLsResponseResult()
			out.ErrorCode, out.ErrorMessage = e.Code, &message
			resp.Results = append(resp.Results, out)
		}
		return resp
	case *kmsg.DeleteACLsRequest:
		resp := req.ResponseKind().(*kmsg.DeleteACLsResponse)
		for range req.Filters {
			out := kmsg.NewDeleteACLsResponseResult()
			out.ErrorCode, out.ErrorMessage = e.Code, &message
			resp.Results = append(resp.Results, out)
		}
		return resp
	case *kmsg.AlterPartitionRequest:
		resp := req.ResponseKind().(*kmsg.AlterPartitionResponse)
		resp.ErrorCode = e.Code
		return resp
	case *kmsg.BrokerRegistrationRequest:
		resp := req.ResponseKind().(*kmsg.BrokerRegistrationResponse)
		resp.ErrorCode, resp.BrokerEpoch = e.Code, -1
		return resp
	case *kmsg.BrokerHeartbeatRequest:
		resp := req.ResponseKind().(*kmsg.BrokerHeartbeatResponse)
		resp.ErrorCode, resp.IsFenced = e.Code, true
		return resp
	case *kmsg.AllocateProducerIDsRequest:
		resp := req.ResponseKind().(*kmsg.AllocateProducerIDsResponse)
		resp.ErrorCode = e.Code
		return resp
	case *JoinRequest:
		return &JoinResponse{ErrorCode: e.Code}
	case *VotersRequest:
		return &VotersResponse{ErrorCode: e.Code, ErrorMessage: message}
	case *kmsg.AddRaftVoterRequest:
		resp := req.ResponseKind().(*kmsg.AddRaftVoterResponse)
		resp.ErrorCode, resp.ErrorMessage = e.Code, &message
		return resp
	case *kmsg.RemoveRaftVoterRequest:
		resp := req.ResponseKind().(*kmsg.RemoveRaftVoterResponse)
		resp.ErrorCode, resp.ErrorMessage = e.Code, &message
		return resp
	}
	return nil
}

func refuseDelete(req *kmsg.DeleteTopicsRequest, e *kerr.Error) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DeleteTopicsResponse)
	message := e.Description
	refuse := func(name *string, id [16]byte) {
		out := kmsg.NewDeleteTopicsResponseTopic()
		out.Topic, out.TopicID, out.ErrorCode, out.ErrorMessage = name, id, e.Code, &message
		resp.Topics = append(resp.Topics, out)
	}
	for i := range req.Topics {
		refuse(req.Topics[i].Topic, req.Topics[i].TopicID)
	}
	for i := range req.TopicNames {
		refuse(&req.TopicNames[i], [16]byte{})
	}
	return resp
}

// refuseElections says it twice: version 0 has no error for the whole.
func refuseElections(req *kmsg.ElectLeadersRequest, e *kerr.Error) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.ElectLeadersResponse)
	resp.ErrorCode = e.Code
	for i := range req.Topics {
		out := kmsg.NewElectLeadersResponseTopic()
		out.Topic = req.Topics[i].Topic
		for _, n := range req.Topics[i].Partitions {
			out.Partitions = append(out.Partitions, electionResult(n, problem{e.Code, e.Description}))
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}
