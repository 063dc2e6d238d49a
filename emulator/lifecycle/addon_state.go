package lifecycle

import (
	"errors"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"

	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// addonEvent is what happens to an add-on in its cluster.
type addonEvent int

const (
	addonHealthy addonEvent = iota // everything of it is there, with all replicas
	addonLacking                   // it is there, but has lacked replicas for too long
	addonRefused                   // the cluster does not take, or give up, its objects
)

// addonStates says what each event makes of an add-on. Handlers do the rest: they
// make CREATING, UPDATING (from all but CREATING, UPDATING and DELETING) and
// DELETING (from every state).
var addonStates = map[ekstypes.AddonStatus]map[addonEvent]ekstypes.AddonStatus{
	ekstypes.AddonStatusCreating: {
		addonHealthy: ekstypes.AddonStatusActive, addonLacking: ekstypes.AddonStatusDegraded, addonRefused: ekstypes.AddonStatusCreateFailed,
	},
	ekstypes.AddonStatusUpdating: {
		addonHealthy: ekstypes.AddonStatusActive, addonLacking: ekstypes.AddonStatusDegraded, addonRefused: ekstypes.AddonStatusUpdateFailed,
	},
	ekstypes.AddonStatusActive:   {addonLacking: ekstypes.AddonStatusDegraded},
	ekstypes.AddonStatusDegraded: {addonHealthy: ekstypes.AddonStatusActive},
	ekstypes.AddonStatusDeleting: {addonRefused: ekstypes.AddonStatusDeleteFailed},
}

// settle moves an add-on on, ends the update under way and shows issues. It
// answers false if the event is none in the add-on's state.
func settle(tx *store.Tx, a *ekssvc.Addon, e addonEvent, issues ...ekstypes.AddonIssue) bool {
	from := a.Resource.Status
	to, ok := addonStates[from][e]
	if !ok {
		return false
	}
	if issues == nil {
		issues = []ekstypes.AddonIssue{}
	}
	a.Resource.Status, a.Resource.Health = to, &ekstypes.AddonHealth{Issues: issues}
	if e != addonRefused {
		a.Applied()
	}
	if a.UpdateID == "" {
		return true
	}
	var errs []ekstypes.ErrorDetail
	if e == addonRefused {
		for _, i := range issues {
			errs = append(errs, ekstypes.ErrorDetail{
				ErrorCode: ekstypes.ErrorCode(i.Code), ErrorMessage: i.Message, ResourceIds: []string{*a.Resource.AddonName},
			})
		}
	}
	ekssvc.FinishUpdate(tx, a.Scope, *a.Resource.ClusterName, a.UpdateID, errs...)
	a.UpdateID = ""
	return true
}

// lackingIssue is EKS's text, seen in its console and API.
func lackingIssue() ekstypes.AddonIssue {
	return ekstypes.AddonIssue{
		Code:    ekstypes.AddonIssueCodeInsufficientNumberOfReplicas,
		Message: aws.String("The add-on is unhealthy because it doesn't have the desired number of replicas."),
	}
}

// conflictIssue is EKS's text: each line names an object and a field of it.
func conflictIssue(fields []string) *ekstypes.AddonIssue {
	return &ekstypes.AddonIssue{
		Code: ekstypes.AddonIssueCodeConfigurationConflict,
		Message: aws.String("Conflicts found when trying to apply. Will not continue due to resolve conflicts mode. Conflicts:\n" +
			strings.Join(fields, "\n")),
	}
}

// refusalGrace is how long a kind or namespace may be missing that an add-on needs.
const refusalGrace = 5 * time.Second

// refusalIssue tells what an API server's answer means for an add-on; nil if
// trying again may help. Kinds and namespaces that are not there may still come
// within refusalGrace: a CRD just applied is served a moment later.
func refusalIssue(err error, age time.Duration) *ekstypes.AddonIssue {
	var code ekstypes.AddonIssueCode
	switch {
	case err == nil:
		return nil
	case meta.IsNoMatchError(err), apierrors.IsNotFound(err):
		if age < refusalGrace {
			return nil
		}
		code = ekstypes.AddonIssueCodeK8sResourceNotFound
	case deniedByAdmission(err):
		code = ekstypes.AddonIssueCodeAdmissionRequestDenied
	case apierrors.IsForbidden(err):
		code = ekstypes.AddonIssueCodeAccessDenied
	case apierrors.IsInvalid(err) && strings.Contains(err.Error(), "field is immutable"):
		code = ekstypes.AddonIssueCodeUnsupportedAddonModification
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		code = ekstypes.AddonIssueCodeInternalFailure
	default:
		return nil
	}
	return &ekstypes.AddonIssue{Code: code, Message: aws.String(answer(err))}
}

// deniedByAdmission knows webhooks, ValidatingAdmissionPolicies and quotas by
// their words: their codes are their authors' choice.
func deniedByAdmission(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	for _, words := range []string{"admission webhook", "ValidatingAdmissionPolicy", "exceeded quota", "violates PodSecurity"} {
		if strings.Contains(err.Error(), words) {
			return true
		}
	}
	return false
}

// answer is the API server's own message.
func answer(err error) string {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return status.Status().Message
	}
	var none *meta.NoKindMatchError
	if errors.As(err, &none) {
		return none.Error()
	}
	return err.Error()
}
