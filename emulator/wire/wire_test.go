package wire_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	apiec2 "github.com/ekslocal/ekslocal/api/ec2"
	apieks "github.com/ekslocal/ekslocal/api/eks"
	apiiam "github.com/ekslocal/ekslocal/api/iam"
	apissm "github.com/ekslocal/ekslocal/api/ssm"
	apists "github.com/ekslocal/ekslocal/api/sts"
	"github.com/ekslocal/ekslocal/emulator/wire"
)

type wrongSignature struct{}

func (wrongSignature) DescribeCluster(context.Context, *eks.DescribeClusterInput) (*eks.DescribeClusterOutput, error) {
	return nil, nil
}

type wrongOutput struct{}

func (wrongOutput) DescribeCluster(context.Context, *eks.DescribeClusterInput, ...func(*eks.Options)) (*eks.ListClustersOutput, error) {
	return nil, nil
}

type wrongService struct{}

func (wrongService) ListTagsForResource(context.Context, *ssm.ListTagsForResourceInput, ...func(*ssm.Options)) (*ssm.ListTagsForResourceOutput, error) {
	return nil, nil
}

func TestBind(t *testing.T) {
	for _, impl := range []any{wrongSignature{}, wrongOutput{}, wrongService{}} {
		if _, err := wire.Bind(apieks.Model(), impl); err == nil {
			t.Errorf("Bind accepted %T", impl)
		}
	}
	s := bind(t, apieks.Model(), eksServer{})
	if o := s.Operation("DescribeCluster"); o == nil || !o.Implemented() {
		t.Errorf("DescribeCluster = %v", o)
	}
	o := s.Operation("DescribeUpdate")
	if o == nil || o.Implemented() {
		t.Fatalf("DescribeUpdate = %v", o)
	}
	if s.Operation("Helper") != nil {
		t.Error("Helper is no operation")
	}
	ops := s.Operations()
	for i := 1; i < len(ops); i++ {
		if ops[i-1].Name >= ops[i].Name {
			t.Errorf("%s is listed before %s", ops[i-1].Name, ops[i].Name)
		}
	}
	status, body := s.EncodeError(o, s.NotImplemented(o), http.Header{}, "id")
	if want := `{"message":"ekslocal does not implement eks:DescribeUpdate"}`; status != 501 || string(body) != want {
		t.Errorf("not implemented: %d %s", status, body)
	}
	if _, err := s.Decode(o, &wire.Request{}); err == nil {
		t.Error("an operation that nothing implements was decoded")
	}
	if _, err := s.Call(t.Context(), o, nil); err == nil {
		t.Error("an operation that nothing implements was called")
	}
}

func TestRoute(t *testing.T) {
	s := bind(t, apieks.Model(), nil)
	for _, c := range []struct {
		method, path, op string
		labels           map[string]string
	}{
		{"GET", "/clusters", "ListClusters", map[string]string{}},
		{"POST", "/clusters", "CreateCluster", map[string]string{}},
		{"GET", "/clusters/dev", "DescribeCluster", map[string]string{"name": "dev"}},
		{"GET", "/clusters/dev/access-entries/arn%3Aaws%3Aiam%3A%3A0%3Arole%2Fadmin%2Fx", "DescribeAccessEntry",
			map[string]string{"clusterName": "dev", "principalArn": "arn:aws:iam::0:role/admin/x"}},
		{"GET", "/tags/arn:aws:eks:us-east-1:0:cluster%2Fdev", "ListTagsForResource", map[string]string{"resourceArn": "arn:aws:eks:us-east-1:0:cluster/dev"}},
		{"GET", "/clusters/dev/identity-provider-configs", "ListIdentityProviderConfigs", map[string]string{"clusterName": "dev"}},
		{"GET", "/addons/supported-versions", "DescribeAddonVersions", map[string]string{}},
		{"PUT", "/clusters", "", nil},
		{"GET", "/clusters/", "", nil},
		{"GET", "/clusters/%zz", "", nil},
		{"GET", "", "", nil},
		{"GET", "/nothing/here", "", nil},
	} {
		o, labels := s.Route(c.method, c.path)
		name := ""
		if o != nil {
			name = o.Name
		}
		if name != c.op || !cmp.Equal(labels, c.labels) {
			t.Errorf("%s %s: %q %v, want %q %v", c.method, c.path, name, labels, c.op, c.labels)
		}
	}
}

func TestDecodeREST(t *testing.T) {
	s := bind(t, apieks.Model(), eksServer{})
	r := httptest.NewRequest(http.MethodGet, "/clusters?include=all&include=x&maxResults=5&nextToken=a%2Bb", nil)
	in, err := s.Decode(s.Operation("ListClusters"), &wire.Request{HTTP: r})
	if err != nil {
		t.Fatal(err)
	}
	want := &eks.ListClustersInput{Include: []string{"all", "x"}, MaxResults: aws.Int32(5), NextToken: aws.String("a+b")}
	if diff := cmp.Diff(want, in, cmpopts.IgnoreUnexported(eks.ListClustersInput{})); diff != "" {
		t.Error(diff)
	}
	r = httptest.NewRequest(http.MethodDelete, "/clusters/c/addons/a?preserve=true", nil)
	in, err = s.Decode(s.Operation("DeleteAddon"), &wire.Request{HTTP: r, Labels: map[string]string{"clusterName": "c", "addonName": "a"}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&eks.DeleteAddonInput{ClusterName: aws.String("c"), AddonName: aws.String("a"), Preserve: true}, in,
		cmpopts.IgnoreUnexported(eks.DeleteAddonInput{})); diff != "" {
		t.Error(diff)
	}
	body := `{"name":"dev","unknown":{"x":[1]},"roleArn":null,"resourcesVpcConfig":{"subnetIds":["a","b"],"endpointPrivateAccess":false},"logging":{"clusterLogging":[]},"tags":{"a":"b","c":null},"bootstrapSelfManagedAddons":true}`
	in, err = s.Decode(s.Operation("CreateCluster"), &wire.Request{Body: []byte(body)})
	if err != nil {
		t.Fatal(err)
	}
	c := in.(*eks.CreateClusterInput)
	if aws.ToString(c.Name) != "dev" || c.RoleArn != nil || len(c.ResourcesVpcConfig.SubnetIds) != 2 || c.ResourcesVpcConfig.EndpointPrivateAccess == nil ||
		c.ResourcesVpcConfig.SecurityGroupIds != nil || c.Logging.ClusterLogging == nil || !cmp.Equal(c.Tags, map[string]string{"a": "b"}) || !aws.ToBool(c.BootstrapSelfManagedAddons) {
		t.Errorf("%+v", c)
	}
}

func TestDecodeErrors(t *testing.T) {
	eksS, ec2S, stsS, ssmS := bind(t, apieks.Model(), eksServer{}), bind(t, apiec2.Model(), ec2Server{}), bind(t, apists.Model(), stsServer{}), bind(t, apissm.Model(), ssmServer{})
	deep := strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100)
	for _, c := range []struct {
		s    *wire.Service
		op   string
		r    *wire.Request
		want string
	}{
		{eksS, "CreateCluster", &wire.Request{Body: []byte(`{"name":5}`)}, "NUMBER_VALUE can not be converted to a String (at name)"},
		{eksS, "CreateCluster", &wire.Request{Body: []byte(`{"name":[]}`)}, "START_ARRAY can not be converted to a String (at name)"},
		{eksS, "CreateCluster", &wire.Request{Body: []byte(`{"tags":"x"}`)}, "STRING_VALUE can not be converted to a map (at tags)"},
		{eksS, "CreateCluster", &wire.Request{Body: []byte(`{"tags":{"x":true}}`)}, "TRUE_VALUE can not be converted to a String (at tags.x)"},
		{eksS, "CreateCluster", &wire.Request{Body: []byte(`{"logging":{"clusterLogging":[{"enabled":"true"}]}}`)}, "STRING_VALUE can not be converted to a Boolean (at logging.clusterLogging[0].enabled)"},
		{eksS, "CreateCluster", &wire.Request{Body: []byte(`{"encryptionConfig":{}}`)}, "START_OBJECT can not be converted to a list (at encryptionConfig)"},
		{eksS, "CreateCluster", &wire.Request{Body: []byte(`[]`)}, "START_ARRAY can not be converted to a structure"},
		{eksS, "CreateCluster", &wire.Request{Body: []byte(`{"name":"x"} {}`)}, "a document with data after its end can not be converted to JSON"},
		{eksS, "CreateCluster", &wire.Request{Body: []byte(`{"name":`)}, "a document with the error 'unexpected EOF' can not be converted to JSON"},
		{eksS, "CreateCluster", &wire.Request{Body: []byte(deep)}, "a document nested too deeply can not be converted to JSON of sane depth"},
		{eksS, "ListClusters", &wire.Request{HTTP: httptest.NewRequest(http.MethodGet, "/clusters?maxResults=ten", nil)}, "'ten' can not be converted to an Integer (at maxResults)"},
		{eksS, "ListClusters", &wire.Request{HTTP: httptest.NewRequest(http.MethodGet, "/clusters?maxResults=99999999999", nil)}, "'99999999999' can not be converted to an Integer (at maxResults)"},
		{ec2S, "RunInstances", &wire.Request{Form: url.Values{"NetworkInterface.2.DeviceIndex": {"x"}}}, "'x' can not be converted to an Integer (at NetworkInterface.1.DeviceIndex)"},
		{ec2S, "RunInstances", &wire.Request{Form: url.Values{"DryRun": {"perhaps"}}}, "'perhaps' can not be converted to a Boolean (at DryRun)"},
		{stsS, "AssumeRole", &wire.Request{Form: url.Values{"DurationSeconds": {""}}}, "'' can not be converted to an Integer (at DurationSeconds)"},
		{ssmS, "GetParameter", &wire.Request{Body: []byte(`{"WithDecryption":1}`)}, "NUMBER_VALUE can not be converted to a Boolean (at WithDecryption)"},
	} {
		_, err := c.s.Decode(c.s.Operation(c.op), c.r)
		var bad *wire.DecodeError
		if !errors.As(err, &bad) || bad.Error() != c.want {
			t.Errorf("%s: %v\nwant %s", c.op, err, c.want)
		}
	}
}

func TestDecodeQuery(t *testing.T) {
	s := bind(t, apiec2.Model(), ec2Server{})
	form := url.Values{"Action": {"RunInstances"}, "ImageId": {"ami-1"}, "MinCount": {"1"}, "DryRun": {"True"}, "SecurityGroupId.2": {"sg-2"}, "SecurityGroupId.10": {"sg-10"}, "SecurityGroupId.1": {"sg-1"},
		"TagSpecification.1.ResourceType": {"instance"}, "TagSpecification.1.Tag.1.Key": {"Name"}, "TagSpecification.1.Tag.1.Value": {""},
		"BlockDeviceMapping.1.Ebs.VolumeSize": {"8"}, "Unknown.1.X": {"y"}, "SecurityGroup": {""}, "IamInstanceProfile.Name.Deeper": {"z"}}
	in, err := s.Decode(s.Operation("RunInstances"), &wire.Request{Form: form})
	if err != nil {
		t.Fatal(err)
	}
	want := &ec2.RunInstancesInput{ImageId: aws.String("ami-1"), MinCount: aws.Int32(1), DryRun: aws.Bool(true), SecurityGroupIds: []string{"sg-1", "sg-2", "sg-10"},
		TagSpecifications:   []ec2types.TagSpecification{{ResourceType: "instance", Tags: []ec2types.Tag{{Key: aws.String("Name"), Value: aws.String("")}}}},
		BlockDeviceMappings: []ec2types.BlockDeviceMapping{{Ebs: &ec2types.EbsBlockDevice{VolumeSize: aws.Int32(8)}}},
		SecurityGroups:      []string{}, IamInstanceProfile: &ec2types.IamInstanceProfileSpecification{}}
	if diff := cmp.Diff(want, in, cmpopts.IgnoreUnexported(ec2.RunInstancesInput{}, ec2types.TagSpecification{}, ec2types.Tag{}, ec2types.BlockDeviceMapping{},
		ec2types.EbsBlockDevice{}, ec2types.IamInstanceProfileSpecification{})); diff != "" {
		t.Error(diff)
	}
	// A query service's lists come with and without their element's name.
	i := bind(t, apiiam.Model(), iamServer{})
	for _, prefix := range []string{"Tags.member.1", "Tags.1"} {
		in, err := i.Decode(i.Operation("CreateRole"), &wire.Request{Form: url.Values{prefix + ".Key": {"a"}, prefix + ".Value": {"b"}}})
		if err != nil {
			t.Fatal(err)
		}
		if tags := in.(*iam.CreateRoleInput).Tags; len(tags) != 1 || aws.ToString(tags[0].Value) != "b" {
			t.Errorf("%s: %+v", prefix, tags)
		}
	}
}

func TestEncode(t *testing.T) {
	launch := time.Date(2026, 11, 23, 4, 19, 35, 0, time.UTC)
	for _, c := range []struct {
		name     string
		s        *wire.Service
		op       string
		out      any
		ct, want string
	}{
		{"rest-json", bind(t, apieks.Model(), eksServer{}), "DescribeCluster",
			&eks.DescribeClusterOutput{Cluster: &ekstypes.Cluster{Name: aws.String("d\"\\\x01é\xff"), CreatedAt: &created, Tags: map[string]string{"b": "2", "a": ""}, EncryptionConfig: []ekstypes.EncryptionConfig{}}},
			"application/json", `{"cluster":{"name":"d\"\\\u0001é` + "\ufffd" + `","createdAt":1795407575.123,"tags":{"a":"","b":"2"},"encryptionConfig":[]}}`},
		{"rest-json, whole seconds", bind(t, apieks.Model(), eksServer{}), "DescribeCluster",
			&eks.DescribeClusterOutput{Cluster: &ekstypes.Cluster{CreatedAt: &launch}}, "application/json", `{"cluster":{"createdAt":1795407575}}`},
		{"rest-json, empty", bind(t, apieks.Model(), eksServer{}), "TagResource", nil, "application/json", `{}`},
		{"rest-json, nil pointer", bind(t, apieks.Model(), eksServer{}), "TagResource", (*eks.TagResourceOutput)(nil), "application/json", `{}`},
		{"rest-json, another type", bind(t, apieks.Model(), eksServer{}), "TagResource", "x", "application/json", `{}`},
		{"awsjson", bind(t, apissm.Model(), ssmServer{}), "GetParameter",
			&ssm.GetParameterOutput{Parameter: &ssmtypes.Parameter{Name: aws.String("/p"), Type: ssmtypes.ParameterTypeString, Version: 3, LastModifiedDate: &created}},
			"application/x-amz-json-1.1", `{"Parameter":{"Name":"/p","Type":"String","Version":3,"LastModifiedDate":1795407575.123}}`},
		{"query", bind(t, apiiam.Model(), iamServer{}), "GetRole",
			&iam.GetRoleOutput{Role: &iamtypes.Role{RoleName: aws.String("a<&>\x00"), CreateDate: &created, Tags: []iamtypes.Tag{{Key: aws.String("k"), Value: aws.String("")}}}},
			"text/xml", `<GetRoleResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><GetRoleResult><Role><CreateDate>2026-11-23T04:19:35Z</CreateDate><RoleName>a&lt;&amp;&gt;` + "\ufffd" + `</RoleName><Tags><member><Key>k</Key><Value></Value></member></Tags></Role></GetRoleResult><ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata></GetRoleResponse>`},
		{"query, no result", bind(t, apiiam.Model(), iamServer{}), "DeleteRole", &iam.DeleteRoleOutput{},
			"text/xml", `<DeleteRoleResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata></DeleteRoleResponse>`},
		{"ec2", bind(t, apiec2.Model(), ec2Server{}), "DescribeVpcs",
			&ec2.DescribeVpcsOutput{Vpcs: []ec2types.Vpc{{VpcId: aws.String("vpc-1"), State: ec2types.VpcStateAvailable, IsDefault: aws.Bool(false), Tags: []ec2types.Tag{}}}},
			"text/xml;charset=UTF-8", `<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<DescribeVpcsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>id-1</requestId><vpcSet><item><isDefault>false</isDefault><state>available</state><tagSet></tagSet><vpcId>vpc-1</vpcId></item></vpcSet></DescribeVpcsResponse>`},
		{"ec2, times", bind(t, apiec2.Model(), ec2Server{}), "RunInstances",
			&ec2.RunInstancesOutput{Instances: []ec2types.Instance{{LaunchTime: &launch}}},
			"text/xml;charset=UTF-8", `<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<RunInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>id-1</requestId><instancesSet><item><launchTime>2026-11-23T04:19:35.000Z</launchTime></item></instancesSet></RunInstancesResponse>`},
		{"ec2, no result", bind(t, apiec2.Model(), ec2Server{}), "DeleteVpc", &ec2.DeleteVpcOutput{},
			"text/xml;charset=UTF-8", `<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<DeleteVpcResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>id-1</requestId><return>true</return></DeleteVpcResponse>`},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := http.Header{}
			status, body := c.s.Encode(c.s.Operation(c.op), c.out, h, "id-1")
			if status != 200 || h.Get("Content-Type") != c.ct || h.Get("X-Amzn-RequestId") != "id-1" {
				t.Errorf("%d %v", status, h)
			}
			if diff := cmp.Diff(c.want, string(body)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEncodeJSON(t *testing.T) {
	s := bind(t, apists.Model(), stsServer{})
	h := http.Header{}
	status, body := s.EncodeJSON(s.Operation("GetCallerIdentity"), &sts.GetCallerIdentityOutput{Account: aws.String("0"), Arn: aws.String("arn:aws:iam::0:root"), UserId: aws.String("0")}, h, "id-1")
	want := `{"GetCallerIdentityResponse":{"GetCallerIdentityResult":{"Account":"0","Arn":"arn:aws:iam::0:root","UserId":"0"},"ResponseMetadata":{"RequestId":"id-1"}}}`
	if status != 200 || h.Get("Content-Type") != "application/json" || string(body) != want {
		t.Errorf("%d %v %s", status, h, body)
	}
	status, body = s.EncodeErrorJSON(&smithy.GenericAPIError{Code: "InvalidClientTokenId", Message: "no \"key\""}, h, "id-1")
	want = `{"Error":{"Code":"InvalidClientTokenId","Message":"no \"key\"","Type":"Sender"},"RequestId":"id-1"}`
	if status != 400 || string(body) != want {
		t.Errorf("%d %s", status, body)
	}
}

// teapot decides its status itself.
type teapot struct{ smithy.GenericAPIError }

func (*teapot) HTTPStatusCode() int { return 412 }

func TestEncodeError(t *testing.T) {
	eksS, ec2S, iamS, ssmS := bind(t, apieks.Model(), eksServer{}), bind(t, apiec2.Model(), ec2Server{}), bind(t, apiiam.Model(), iamServer{}), bind(t, apissm.Model(), ssmServer{})
	notFound := &ekstypes.ResourceNotFoundException{Message: aws.String("No cluster found for name: x."), ClusterName: aws.String("x")}
	generic := &smithy.GenericAPIError{Code: "AccessDenied", Message: "no <way>"}
	for _, c := range []struct {
		name   string
		s      *wire.Service
		err    error
		status int
		want   string
	}{
		{"modelled rest-json", eksS, fmt.Errorf("describe: %w", notFound), 404,
			`{"clusterName":"x","nodegroupName":null,"fargateProfileName":null,"addonName":null,"subscriptionId":null,"message":"No cluster found for name: x."}`},
		{"server fault", eksS, &smithy.GenericAPIError{Code: "ServerException", Message: "m", Fault: smithy.FaultServer}, 500, `{"message":"m"}`},
		{"internal", eksS, errors.New("disk \"full\""), 500, `{"message":"disk \"full\""}`},
		{"decode", eksS, &wire.DecodeError{Want: "a String", Got: "NUMBER_VALUE"}, 400, `{"message":"NUMBER_VALUE can not be converted to a String"}`},
		{"unknown operation", eksS, eksS.UnknownOperation("Nope"), 400, `{"message":"Unknown operation Nope"}`},
		{"modelled awsjson", ssmS, &ssmtypes.ParameterNotFound{Message: aws.String("m")}, 400, `{"__type":"ParameterNotFound","message":"m"}`},
		{"another service's error", ssmS, notFound, 400, `{"__type":"ResourceNotFoundException","message":"No cluster found for name: x."}`},
		{"nil", ssmS, nil, 500, `{"__type":"InternalFailure","message":"unknown error"}`},
		{"modelled query", iamS, &iamtypes.NoSuchEntityException{Message: aws.String("The role with name x cannot be found.")}, 404,
			`<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Sender</Type><Code>NoSuchEntity</Code><Message>The role with name x cannot be found.</Message></Error><RequestId>id-1</RequestId></ErrorResponse>`},
		{"query server", iamS, &iamtypes.ServiceFailureException{Message: aws.String("m")}, 500,
			`<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Receiver</Type><Code>ServiceFailure</Code><Message>m</Message></Error><RequestId>id-1</RequestId></ErrorResponse>`},
		{"ec2", ec2S, generic, 400, `<?xml version="1.0" encoding="UTF-8"?>` + "\n" +
			`<Response><Errors><Error><Code>AccessDenied</Code><Message>no &lt;way&gt;</Message></Error></Errors><RequestID>id-1</RequestID></Response>`},
		{"own status", ec2S, &teapot{smithy.GenericAPIError{Code: "DryRunOperation", Message: "m"}}, 412, `<?xml version="1.0" encoding="UTF-8"?>` + "\n" +
			`<Response><Errors><Error><Code>DryRunOperation</Code><Message>m</Message></Error></Errors><RequestID>id-1</RequestID></Response>`},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := http.Header{}
			status, body := c.s.EncodeError(nil, c.err, h, "id-1")
			if status != c.status || h.Get("X-Amzn-RequestId") != "id-1" {
				t.Errorf("status %d, want %d; %v", status, c.status, h)
			}
			if diff := cmp.Diff(c.want, string(body)); diff != "" {
				t.Error(diff)
			}
		})
	}
	h := http.Header{}
	eksS.EncodeError(eksS.Operation("DescribeCluster"), notFound, h, "id")
	if h.Get("X-Amzn-ErrorType") != "ResourceNotFoundException" {
		t.Errorf("%v", h)
	}
}

// Values that no sane handler returns must not panic the encoders.
func TestEncodeOddValues(t *testing.T) {
	loop := map[string]ssmtypes.InventoryResultItem{}
	s := bind(t, apissm.Model(), ssmServer{})
	loop["x"] = ssmtypes.InventoryResultItem{Content: []map[string]string{nil, {}}}
	s.Encode(s.Operation("GetInventory"), &ssm.GetInventoryOutput{Entities: []ssmtypes.InventoryResultEntity{{Data: loop}, {}}}, http.Header{}, "")
	far := time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)
	i := bind(t, apiiam.Model(), iamServer{})
	for _, at := range []time.Time{{}, far, far.AddDate(-1e6, 0, 0)} {
		s.Encode(s.Operation("GetParameter"), &ssm.GetParameterOutput{Parameter: &ssmtypes.Parameter{LastModifiedDate: &at}}, http.Header{}, "")
		i.Encode(i.Operation("GetRole"), &iam.GetRoleOutput{Role: &iamtypes.Role{CreateDate: &at}}, http.Header{}, "<&>")
	}
	i.Encode(i.Operation("GetRole"), &iam.DeleteRoleOutput{}, http.Header{}, "")
	i.Encode(i.Operation("ListUsers"), nil, http.Header{}, "")
	i.EncodeError(nil, (*iamtypes.NoSuchEntityException)(nil), http.Header{}, "")
}

// A type that contains itself, as ssm's inventory aggregators do, is cut at
// the depth limit instead of recursing for ever.
func TestRecursion(t *testing.T) {
	s := bind(t, apissm.Model(), ssmServer{})
	body := strings.Repeat(`{"Aggregators":[`, 30) + strings.Repeat(`]}`, 30)
	if _, err := s.Decode(s.Operation("GetInventory"), &wire.Request{Body: []byte(body)}); err != nil {
		t.Error(err)
	}
	body = strings.Repeat(`{"Aggregators":[`, 40) + strings.Repeat(`]}`, 40)
	if _, err := s.Decode(s.Operation("GetInventory"), &wire.Request{Body: []byte(body)}); err == nil {
		t.Error("80 levels were accepted")
	}
}

func TestParse(t *testing.T) {
	for _, table := range []string{"", "protocol smoke", "protocol query\ntimes never", "nonsense", "protocol query\nop X http=GET", "protocol query\nop X http=GET:x:/",
		"protocol query\nop X odd=1", "protocol query\nerror X status=x", "protocol query\nerror X odd=1", "protocol query\nin X"} {
		if _, err := wire.Parse(table); err == nil {
			t.Errorf("%q was accepted", table)
		}
	}
	m, err := wire.Parse("id eks\nprotocol rest-json\nop DescribeCluster http=GET:200:/c/{name} in=In out=Out\nin In struct name!label\nout Out struct cluster:Missing\n")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wire.Bind(m, eksServer{}); err == nil {
		t.Error("a table with a missing shape was bound")
	}
}
