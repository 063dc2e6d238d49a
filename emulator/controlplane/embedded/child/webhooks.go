package child

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/rest"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/embedded"
	"github.com/ekslocal/ekslocal/emulator/pki"
)

// simulatedBackends answers in the place of webhooks whose Service is backed by
// simulated pods. Nothing runs in those: with failurePolicy Fail such a webhook
// would refuse every object it matches, as an installed cert-manager's does.
// Webhooks by URL, and Services whose endpoints were put in by hand or that are
// external names, are called for real.
type simulatedBackends struct {
	mode string
	// forward calls EKS's own webhooks, which are in the parent.
	forward  answerFunc
	services corelisters.ServiceLister
	slices   discoverylisters.EndpointSliceLister
	// trusted is a CA whose key nobody has. Charts leave caBundle for their own pods
	// to fill in, here in vain, and many ship a newline ("Cg==") in its place, of
	// which no client can be made. Beside a readable certificate it does no harm.
	trusted func() ([]byte, error)
}

func newSimulatedBackends(mode string, forward func(*http.Request) (*http.Response, error), f informers.SharedInformerFactory) *simulatedBackends {
	return &simulatedBackends{
		mode: mode, forward: func(r *http.Request, _ string) (*http.Response, error) { return forward(r) },
		services: f.Core().V1().Services().Lister(), slices: f.Discovery().V1().EndpointSlices().Lister(),
		trusted: sync.OnceValues(func() ([]byte, error) {
			ca, err := pki.NewCA("simulated-webhooks.ekslocal", time.Now())
			return ca.Cert, err
		}),
	}
}

var errSimulatedBackend = errors.New("the pods behind this webhook's service are simulated by ekslocal and run no code")

// simulated tells whether the service's endpoints are pods, which all are
// simulated in this kind of control plane.
func (s *simulatedBackends) simulated(namespace, name string) bool {
	svc, err := s.services.Services(namespace).Get(name)
	if err != nil || svc.Spec.Type == corev1.ServiceTypeExternalName {
		return false // the ordinary way answers better
	}
	if len(svc.Spec.Selector) > 0 {
		return true
	}
	list, err := s.slices.EndpointSlices(namespace).List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: name}))
	if err != nil {
		return false
	}
	for _, slice := range list {
		for _, e := range slice.Endpoints {
			if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
				return true
			}
		}
	}
	return false
}

// decorate is an admission.Decorator that changes the two webhook plugins' way to
// their clients and returns every plugin as it is.
func (s *simulatedBackends) decorate(plugin admission.Interface, _ string) admission.Interface {
	if p, ok := plugin.(interface {
		SetAuthenticationInfoResolverWrapper(webhook.AuthenticationInfoResolverWrapper)
	}); ok {
		p.SetAuthenticationInfoResolverWrapper(s.wrapper(s.answerAdmission))
	}
	return plugin
}

func (s *simulatedBackends) wrapConversion(next webhook.AuthenticationInfoResolverWrapper) webhook.AuthenticationInfoResolverWrapper {
	ours := s.wrapper(s.refuseConversion)
	return func(r webhook.AuthenticationInfoResolver) webhook.AuthenticationInfoResolver { return ours(next(r)) }
}

type answerFunc func(r *http.Request, service string) (*http.Response, error)

func (s *simulatedBackends) wrapper(answer answerFunc) webhook.AuthenticationInfoResolverWrapper {
	return func(next webhook.AuthenticationInfoResolver) webhook.AuthenticationInfoResolver {
		return &webhook.AuthenticationInfoResolverDelegator{
			ClientConfigForFunc: func(hostPort string) (*rest.Config, error) {
				c, err := next.ClientConfigFor(hostPort)
				if err != nil || hostPort != controlplane.AdmissionHost && hostPort != controlplane.PodIdentityHost {
					return c, err
				}
				c = rest.CopyConfig(c)
				c.Wrap(func(http.RoundTripper) http.RoundTripper {
					return roundTripperFunc(func(r *http.Request) (*http.Response, error) { return s.forward(r, hostPort) })
				})
				return c, nil
			},
			ClientConfigForServiceFunc: func(name, namespace string, port int) (*rest.Config, error) {
				c, err := next.ClientConfigForService(name, namespace, port)
				if err != nil || (namespace == metav1.NamespaceDefault && name == "kubernetes") {
					return c, err
				}
				c = rest.CopyConfig(c)
				if len(c.CAData) == 0 && s.simulated(namespace, name) {
					if c.CAData, err = s.trusted(); err != nil {
						return nil, err
					}
				}
				c.Wrap(func(rt http.RoundTripper) http.RoundTripper {
					// Asked anew for each call, since clients are cached for long.
					return roundTripperFunc(func(r *http.Request) (*http.Response, error) {
						if !s.simulated(namespace, name) {
							return rt.RoundTrip(r)
						}
						return answer(r, namespace+"/"+name)
					})
				})
				return c, nil
			},
		}
	}
}

func (s *simulatedBackends) answerAdmission(r *http.Request, service string) (*http.Response, error) {
	if s.mode == embedded.FailWebhooks {
		return nil, errSimulatedBackend
	}
	var review admissionv1.AdmissionReview // v1beta1's has the same fields
	if err := readJSON(r, &review); err != nil {
		return nil, err
	}
	if review.Request == nil {
		return nil, errors.New("admission review without a request")
	}
	return jsonResponse(r, admissionv1.AdmissionReview{
		TypeMeta: review.TypeMeta,
		Response: &admissionv1.AdmissionResponse{
			UID: review.Request.UID, Allowed: true,
			Warnings: []string{fmt.Sprintf("ekslocal skipped admission webhook of service %s: its pods are simulated", service)},
		},
	})
}

// refuseConversion fails at once: a conversion nobody computes must not be made up.
func (s *simulatedBackends) refuseConversion(_ *http.Request, service string) (*http.Response, error) {
	return nil, fmt.Errorf("conversion by service %s: %w; store and request one version of the resource", service, errSimulatedBackend)
}

func readJSON(r *http.Request, into any) error {
	if r.Body == nil {
		return errors.New("webhook request without a body")
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

func jsonResponse(r *http.Request, v any) (*http.Response, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        http.Header{"Content-Type": {"application/json"}},
		Body:          io.NopCloser(bytes.NewReader(b)),
		ContentLength: int64(len(b)), Request: r,
	}, nil
}
