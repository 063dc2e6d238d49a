"""Checks of SQS, EventBridge and the load balancers' describing side with boto3.

Prints a JSON line for each check: its name and what went wrong, if anything did.
"""
import hashlib
import json
import sys
import threading
import time
import traceback

import boto3

sqs, events, ec2 = boto3.client("sqs"), boto3.client("events"), boto3.client("ec2")
elb, elbv2 = boto3.client("elb"), boto3.client("elbv2")
ami, subnet = sys.argv[1:3]


def queue(name, **attributes):
    url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    return url, arn


def receive(url, n, seconds=10):
    got, end = [], time.time() + seconds
    while len(got) < n and time.time() < end:
        for m in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=2).get("Messages", []):
            sqs.delete_message(QueueUrl=url, ReceiptHandle=m["ReceiptHandle"])
            got.append(m["Body"])
    return got


def check_queue_url():
    url, _ = queue("urls")
    assert sqs.get_queue_url(QueueName="urls")["QueueUrl"] == url, url
    assert url.startswith(sqs.meta.endpoint_url + "/"), url
    try:
        sqs.get_queue_url(QueueName="none")
        assert False, "found"
    except sqs.exceptions.QueueDoesNotExist as e:
        assert e.response["Error"]["Code"] == "AWS.SimpleQueueService.NonExistentQueue", e.response


def check_long_poll():
    # boto3 itself compares the sums of bodies and attributes.
    url, _ = queue("poll")
    timer = threading.Timer(0.5, lambda: boto3.client("sqs").send_message(
        QueueUrl=url, MessageBody="hello", MessageAttributes={"a": {"DataType": "String", "StringValue": "b"}}))
    timer.start()
    began = time.time()
    got = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20, MessageAttributeNames=["All"])["Messages"]
    took = time.time() - began
    assert got[0]["MD5OfBody"] == hashlib.md5(b"hello").hexdigest() and got[0]["MessageAttributes"]["a"]["StringValue"] == "b", got
    assert 0.3 < took < 10, took


def check_explicit_zero():
    # Other SDKs send what Go's cannot: a visibility time-out of 0 only looks.
    url, _ = queue("peek", ReceiveMessageWaitTimeSeconds="20")
    sqs.send_message(QueueUrl=url, MessageBody="m")
    for _ in range(2):
        assert len(sqs.receive_message(QueueUrl=url, VisibilityTimeout=0)["Messages"]) == 1
    sqs.purge_queue(QueueUrl=url)
    began = time.time()
    assert "Messages" not in sqs.receive_message(QueueUrl=url, WaitTimeSeconds=0)
    assert time.time() - began < 5


def check_fifo():
    url, _ = queue("f.fifo", FifoQueue="true", ContentBasedDeduplication="true")
    for body in ("1", "2", "2", "3"):
        sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId="g")
    assert receive(url, 3) == ["1", "2", "3"]


def check_interruption_queue():
    # What Karpenter's interruption queue is made of, and what it gets.
    url, arn = queue("karpenter")
    events.put_rule(Name="state", EventPattern=json.dumps({"source": ["aws.ec2"], "detail-type": ["EC2 Instance State-change Notification"]}))
    assert events.put_targets(Rule="state", Targets=[{"Id": "q", "Arn": arn}])["FailedEntryCount"] == 0
    made = ec2.run_instances(ImageId=ami, InstanceType="m5.large", MinCount=1, MaxCount=1, SubnetId=subnet)["Instances"][0]["InstanceId"]
    ec2.terminate_instances(InstanceIds=[made])
    got = [json.loads(b) for b in receive(url, 4)]
    assert [e["detail"] for e in got] == [{"instance-id": made, "state": s} for s in ("pending", "running", "shutting-down", "terminated")], got
    assert got[0]["resources"][0].endswith(":instance/" + made) and got[0]["version"] == "0", got[0]
    try:
        events.delete_rule(Name="state")
        assert False, "deleted with its targets"
    except events.exceptions.ClientError as e:
        assert e.response["Error"]["Message"] == "Rule can't be deleted since it has targets.", e
    events.remove_targets(Rule="state", Ids=["q"])
    events.delete_rule(Name="state")


def check_own_events():
    url, arn = queue("own")
    bus = events.create_event_bus(Name="b")["EventBusArn"]
    events.put_rule(Name="r", EventBusName="b", EventPattern=json.dumps({"detail": {"n": [{"numeric": [">", 1]}]}}))
    events.put_targets(Rule="r", EventBusName="b", Targets=[{"Id": "q", "Arn": arn, "InputTransformer": {
        "InputPathsMap": {"n": "$.detail.n"}, "InputTemplate": '{"n": <n>, "text": "n is <n>"}'}}])
    out = events.put_events(Entries=[{"Source": "s", "DetailType": "t", "Detail": json.dumps({"n": n}), "EventBusName": bus} for n in (1, 2)])
    assert out["FailedEntryCount"] == 0, out
    assert [json.loads(b) for b in receive(url, 1)] == [{"n": 2, "text": "n is 2"}]
    assert events.test_event_pattern(EventPattern='{"source":["s"]}', Event=json.dumps({
        "id": "1", "detail-type": "t", "source": "s", "account": "1", "time": "2026-01-01T00:00:00Z", "region": "r", "detail": {}}))["Result"]


def check_load_balancers():
    assert elbv2.describe_load_balancers()["LoadBalancers"] == []
    assert elbv2.describe_target_groups()["TargetGroups"] == []
    assert elb.describe_load_balancers()["LoadBalancerDescriptions"] == []
    for call, want in (
        (lambda: elbv2.describe_load_balancers(Names=["none"]), "LoadBalancerNotFound"),
        (lambda: elbv2.describe_target_groups(Names=["none"]), "TargetGroupNotFound"),
        (lambda: elb.describe_load_balancers(LoadBalancerNames=["none"]), "LoadBalancerNotFound"),
    ):
        try:
            call()
            assert False, "found"
        except (elb.exceptions.ClientError, elbv2.exceptions.ClientError) as e:
            assert e.response["Error"]["Code"] == want, e.response


for name, check in sorted(globals().copy().items()):
    if name.startswith("check_"):
        error = ""
        try:
            check()
        except Exception:
            error = traceback.format_exc()
        print(json.dumps({"Name": name.removeprefix("check_"), "Error": error}), flush=True)
