package lifecycle

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
)

// userData is what a group's nodes boot with, in base64: the user's from their
// launch template, and, unless the image is theirs too, what EKS adds: the NodeConfig
// for nodeadm (Amazon EKS AMI, nodeadm API v1alpha1), or Bottlerocket's settings.
func userData(c *ekssvc.Cluster, ng *ekssvc.Nodegroup) (*string, error) {
	if ng.Desired.ImageID != "" { // with a custom AMI, EKS merges nothing
		if ng.Desired.UserData == "" {
			return nil, nil
		}
		return &ng.Desired.UserData, nil
	}
	users, err := base64.StdEncoding.DecodeString(ng.Desired.UserData)
	if err != nil {
		return nil, fmt.Errorf("user data of %s: %w", *ng.Resource.NodegroupName, err)
	}
	if strings.HasPrefix(string(ng.Resource.AmiType), "BOTTLEROCKET") {
		merged := bottlerocketUserData(string(users), []setting{
			{"cluster-name", strconv.Quote(*c.Resource.Name)}, {"api-server", strconv.Quote(aws.ToString(c.Resource.Endpoint))},
			{"cluster-certificate", strconv.Quote(base64PEM(c.CACert))}, {"max-pods", strconv.Itoa(ng.MaxPods)},
		})
		return aws.String(base64.StdEncoding.EncodeToString([]byte(merged))), nil
	}
	config := fmt.Sprintf(`---
apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
spec:
  cluster:
    name: %s
    apiServerEndpoint: %s
    certificateAuthority: %s
    cidr: %s
  kubelet:
    config:
      maxPods: %d
`, *c.Resource.Name, aws.ToString(c.Resource.Endpoint), base64PEM(c.CACert), serviceCIDR(c), ng.MaxPods)
	merged, err := mergeUserData(users, config)
	if err != nil {
		return nil, fmt.Errorf("user data of %s: %w", *ng.Resource.NodegroupName, err)
	}
	return aws.String(base64.StdEncoding.EncodeToString(merged)), nil
}

// mergeUserData appends a NodeConfig to the parts of the user's MIME multi-part
// archive, the only form in which EKS accepts user data for its own images.
func mergeUserData(users []byte, config string) ([]byte, error) {
	var out bytes.Buffer
	w := multipart.NewWriter(&out)
	boundary := "//"
	for bytes.Contains(users, []byte("--"+boundary)) {
		boundary += "/"
	}
	if err := w.SetBoundary(boundary); err != nil {
		return nil, err
	}
	fmt.Fprintf(&out, "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=%q\n\n", boundary)
	if len(bytes.TrimSpace(users)) > 0 {
		if err := copyParts(w, users); err != nil {
			return nil, err
		}
	}
	p, err := w.CreatePart(textproto.MIMEHeader{"Content-Type": {"application/node.eks.aws"}})
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(p, config); err != nil {
		return nil, err
	}
	err = w.Close()
	return out.Bytes(), err
}

// errNotMIME is EKS's complaint.
var errNotMIME = errors.New("user data was not in the MIME multipart format")

func copyParts(w *multipart.Writer, users []byte) error {
	m, err := mail.ReadMessage(bytes.NewReader(bytes.TrimLeft(users, "\r\n \t")))
	if err != nil {
		return errNotMIME
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || !strings.HasPrefix(kind, "multipart/") {
		return errNotMIME
	}
	r := multipart.NewReader(m.Body, params["boundary"])
	for {
		part, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return errNotMIME
		}
		p, err := w.CreatePart(part.Header)
		if err != nil {
			return err
		}
		if _, err := io.Copy(p, part); err != nil {
			return err
		}
	}
}
