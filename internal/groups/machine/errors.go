package machine

import "errors"

// What requests are refused with. Each stands for the error of Kafka's protocol that is named; the broker translates.
var (
	ErrInvalidRequest          = errors.New("group: invalid request")                                               // INVALID_REQUEST
	ErrInvalidGroupID          = errors.New("group: the group id is empty")                                         // INVALID_GROUP_ID
	ErrGroupIDNotFound         = errors.New("group: unknown group")                                                 // GROUP_ID_NOT_FOUND
	ErrUnknownMember           = errors.New("group: unknown member")                                                // UNKNOWN_MEMBER_ID
	ErrMemberIDRequired        = errors.New("group: join again with the member id given")                           // MEMBER_ID_REQUIRED
	ErrIllegalGeneration       = errors.New("group: not the group's generation")                                    // ILLEGAL_GENERATION
	ErrRebalanceInProgress     = errors.New("group: a rebalance is under way")                                      // REBALANCE_IN_PROGRESS
	ErrInconsistentProtocol    = errors.New("group: no assignor or protocol type in common with the other members") // INCONSISTENT_GROUP_PROTOCOL
	ErrInvalidSessionTimeout   = errors.New("group: session timeout out of range")                                  // INVALID_SESSION_TIMEOUT
	ErrFencedInstance          = errors.New("group: another member has this instance id")                           // FENCED_INSTANCE_ID
	ErrUnreleasedInstance      = errors.New("group: the instance id is in use")                                     // UNRELEASED_INSTANCE_ID
	ErrMaxSizeReached          = errors.New("group: full")                                                          // GROUP_MAX_SIZE_REACHED
	ErrFencedMemberEpoch       = errors.New("group: not the member's epoch")                                        // FENCED_MEMBER_EPOCH
	ErrStaleMemberEpoch        = errors.New("group: the member's epoch has moved on")                               // STALE_MEMBER_EPOCH
	ErrUnsupportedAssignor     = errors.New("group: unknown assignor")                                              // UNSUPPORTED_ASSIGNOR
	ErrUnsupportedVersion      = errors.New("group: not by this version of the request")                            // UNSUPPORTED_VERSION
	ErrNonEmptyGroup           = errors.New("group: not empty")                                                     // NON_EMPTY_GROUP
	ErrSubscribedToTopic       = errors.New("group: a member subscribes to the topic")                              // GROUP_SUBSCRIBED_TO_TOPIC
	ErrOffsetMetadataTooLarge  = errors.New("group: the text with the offset is too long")                          // OFFSET_METADATA_TOO_LARGE
	ErrCoordinatorNotAvailable = errors.New("group: the coordinator cannot do it now")                              // COORDINATOR_NOT_AVAILABLE
)
