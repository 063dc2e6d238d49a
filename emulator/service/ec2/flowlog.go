package ec2

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// FlowLog is a flow log. Nothing is written to its destination.
type FlowLog struct{ types.FlowLog }

// FlowLogs is keyed by id.
const FlowLogs store.Table[FlowLog] = "ec2-flow-log"

var flowLogKind = &kind[FlowLog]{
	table: FlowLogs, typ: types.ResourceTypeVpcFlowLog, prefix: "fl", noun: "flowLog", param: "flowLogId",
	malformed: "InvalidFlowLogId.Malformed", notFound: "InvalidFlowLogId.NotFound",
	missing: func(ids []string) string {
		return "These flow log ids in the input list are not found: [TotalCount: 1] " + ids[0]
	},
	tags: func(r *FlowLog) *[]types.Tag { return &r.Tags },
	id:   func(r *FlowLog) *string { return r.FlowLogId },
}

const flowLogFormat = "${version} ${account-id} ${interface-id} ${srcaddr} ${dstaddr} ${srcport} ${dstport} ${protocol} ${packets} ${bytes} ${start} ${end} ${action} ${log-status}"

// unsuccessful is how operations on many resources report one's error.
func unsuccessful(id string, err error) types.UnsuccessfulItem {
	item := types.UnsuccessfulItem{ResourceId: &id, Error: &types.UnsuccessfulItemError{Message: aws.String(err.Error())}}
	var e smithy.APIError
	if errors.As(err, &e) {
		item.Error = &types.UnsuccessfulItemError{Code: aws.String(e.ErrorCode()), Message: aws.String(e.ErrorMessage())}
	}
	return item
}

func flowLogOf(in *ec2.CreateFlowLogsInput) (types.FlowLog, error) {
	l := types.FlowLog{
		LogDestinationType: in.LogDestinationType, LogDestination: in.LogDestination, LogGroupName: in.LogGroupName, LogFormat: in.LogFormat,
		DeliverLogsPermissionArn: in.DeliverLogsPermissionArn, DeliverCrossAccountRole: in.DeliverCrossAccountRole, TrafficType: in.TrafficType,
		MaxAggregationInterval: in.MaxAggregationInterval, FlowLogStatus: aws.String("ACTIVE"), DeliverLogsStatus: aws.String("SUCCESS"),
	}
	if l.LogDestinationType == "" {
		l.LogDestinationType = types.LogDestinationTypeCloudWatchLogs
	}
	if l.LogFormat == nil {
		l.LogFormat = aws.String(flowLogFormat)
	}
	if l.MaxAggregationInterval == nil {
		l.MaxAggregationInterval = aws.Int32(600)
	}
	switch n := *l.MaxAggregationInterval; {
	case n != 60 && n != 600:
		return l, errInvalid("Invalid value %d for MaxAggregationInterval: it must be 60 or 600", n)
	case in.TrafficType == "" && in.ResourceType != types.FlowLogsResourceTypeTransitGateway && in.ResourceType != types.FlowLogsResourceTypeTransitGatewayAttachment:
		return l, errMissing("TrafficType")
	case in.TrafficType != "" && in.TrafficType != types.TrafficTypeAll && in.TrafficType != types.TrafficTypeAccept && in.TrafficType != types.TrafficTypeReject:
		return l, errInvalidValue(in.TrafficType, "trafficType")
	}
	if l.LogDestinationType == types.LogDestinationTypeCloudWatchLogs {
		switch {
		case l.LogGroupName == nil && l.LogDestination == nil:
			return l, apiError("InvalidParameter", "LogDestination or LogGroupName must be provided for the log destination type cloud-watch-logs")
		case l.DeliverLogsPermissionArn == nil:
			return l, apiError("InvalidParameter", "DeliverLogsPermissionArn must be provided for the log destination type cloud-watch-logs")
		}
		if l.LogGroupName == nil {
			name := strings.TrimSuffix(*l.LogDestination, ":*")
			if i := strings.LastIndex(name, "log-group:"); i >= 0 {
				name = name[i+len("log-group:"):]
			}
			l.LogGroupName = &name
		}
		return l, nil
	}
	if l.LogDestination == nil {
		return l, apiError("InvalidParameter", "LogDestination must be provided for the log destination type %s", l.LogDestinationType)
	}
	if l.LogDestinationType == types.LogDestinationTypeS3 {
		o := &types.DestinationOptionsResponse{FileFormat: types.DestinationFileFormatPlainText, HiveCompatiblePartitions: aws.Bool(false), PerHourPartition: aws.Bool(false)}
		if d := in.DestinationOptions; d != nil {
			if d.FileFormat != "" {
				o.FileFormat = d.FileFormat
			}
			o.HiveCompatiblePartitions, o.PerHourPartition = aws.Bool(aws.ToBool(d.HiveCompatiblePartitions)), aws.Bool(aws.ToBool(d.PerHourPartition))
		}
		l.DestinationOptions = o
	}
	return l, nil
}

// flowLogResource tells whether what is to be logged exists.
func flowLogResource(tx *store.Tx, sc awsid.Scope, typ types.FlowLogsResourceType, id string) error {
	var err error
	switch typ {
	case types.FlowLogsResourceTypeVpc:
		_, err = vpcKind.get(tx, sc, &id)
	case types.FlowLogsResourceTypeSubnet:
		_, err = subnetKind.get(tx, sc, &id)
	case types.FlowLogsResourceTypeNetworkInterface:
		_, err = networkInterfaceKind.get(tx, sc, &id)
	case "":
		err = errMissing("ResourceType")
	default:
		err = apiError("UnsupportedOperation", "ekslocal has no flow logs of resources of type %s.", typ)
	}
	return err
}

// CreateFlowLogs creates a flow log for each resource, with a result of its own.
func (s *Service) CreateFlowLogs(ctx context.Context, in *ec2.CreateFlowLogsInput, _ ...func(*ec2.Options)) (*ec2.CreateFlowLogsOutput, error) {
	if len(in.ResourceIds) == 0 {
		return nil, errMissing("ResourceId")
	}
	if in.ResourceType == "" {
		return nil, errMissing("ResourceType")
	}
	tags, err := tagsFor(ctx, in.TagSpecifications, types.ResourceTypeVpcFlowLog)
	if err != nil {
		return nil, err
	}
	form, err := flowLogOf(in)
	if err != nil {
		return nil, err
	}
	out := &ec2.CreateFlowLogsOutput{ClientToken: in.ClientToken}
	err = s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		out.FlowLogIds, out.Unsuccessful = []string{}, []types.UnsuccessfulItem{}
		rp, err := s.replayOf(tx, sc, "CreateFlowLogs", in.ClientToken, in)
		if err != nil {
			return err
		}
		if rp.ids != nil {
			out.FlowLogIds = rp.ids
			return nil
		}
		for _, id := range in.ResourceIds {
			if err := flowLogResource(tx, sc, in.ResourceType, id); err != nil {
				out.Unsuccessful = append(out.Unsuccessful, unsuccessful(id, err))
				continue
			}
			if sameFlowLog(tx, sc, id, form) {
				out.Unsuccessful = append(out.Unsuccessful, unsuccessful(id, apiError("FlowLogAlreadyExists",
					"Error. There is an existing Flow Log with the same configuration and log destination.")))
				continue
			}
			rec, now := &FlowLog{form}, s.now()
			rec.FlowLogId, rec.ResourceId, rec.CreationTime, rec.Tags = aws.String(awsid.NewID("fl")), &id, &now, tags
			FlowLogs.Put(tx, sc, *rec.FlowLogId, rec)
			out.FlowLogIds = append(out.FlowLogIds, *rec.FlowLogId)
		}
		s.remember(tx, sc, rp, out.FlowLogIds...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func sameFlowLog(tx *store.Tx, sc awsid.Scope, resource string, form types.FlowLog) bool {
	return countIn(FlowLogs.List(tx, sc), func(l *FlowLog) bool {
		return deref(l.ResourceId) == resource && deref(l.LogDestination) == deref(form.LogDestination) &&
			deref(l.LogGroupName) == deref(form.LogGroupName) && l.TrafficType == form.TrafficType
	}) > 0
}

// DeleteFlowLogs deletes flow logs, each with a result of its own.
func (s *Service) DeleteFlowLogs(ctx context.Context, in *ec2.DeleteFlowLogsInput, _ ...func(*ec2.Options)) (*ec2.DeleteFlowLogsOutput, error) {
	if len(in.FlowLogIds) == 0 {
		return nil, errMissing("FlowLogId")
	}
	var failed []types.UnsuccessfulItem
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		failed = []types.UnsuccessfulItem{}
		for _, id := range in.FlowLogIds {
			if _, err := flowLogKind.get(tx, sc, &id); err != nil {
				failed = append(failed, unsuccessful(id, err))
				continue
			}
			FlowLogs.Delete(tx, sc, id)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.DeleteFlowLogsOutput{Unsuccessful: failed}, nil
}

// DescribeFlowLogs lists flow logs; ids that are not there are passed over.
func (s *Service) DescribeFlowLogs(ctx context.Context, in *ec2.DescribeFlowLogsInput, _ ...func(*ec2.Options)) (*ec2.DescribeFlowLogsOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	page, next, err := flowLogLister.run(s.store, sc, query{in.FlowLogIds, in.Filter, in.MaxResults, in.NextToken})
	if err != nil {
		return nil, err
	}
	return &ec2.DescribeFlowLogsOutput{FlowLogs: page, NextToken: next}, nil
}

var flowLogLister = &lister[FlowLog, types.FlowLog]{
	kind: flowLogKind,
	view: func(_ store.Reader, _ awsid.Scope, r *FlowLog) types.FlowLog { return r.FlowLog },
	id:   func(v *types.FlowLog) string { return deref(v.FlowLogId) },
	tags: func(v *types.FlowLog) []types.Tag { return v.Tags },
	filters: fields[types.FlowLog]{
		"deliver-log-status":   func(v *types.FlowLog) []string { return one(v.DeliverLogsStatus) },
		"log-destination-type": func(v *types.FlowLog) []string { return text(v.LogDestinationType) },
		"flow-log-id":          func(v *types.FlowLog) []string { return one(v.FlowLogId) },
		"log-group-name":       func(v *types.FlowLog) []string { return one(v.LogGroupName) },
		"resource-id":          func(v *types.FlowLog) []string { return one(v.ResourceId) },
		"traffic-type":         func(v *types.FlowLog) []string { return text(v.TrafficType) },
	},
	minPage: 1,
	lenient: true,
}
