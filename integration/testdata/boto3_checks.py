"""What boto3 users do, against AWS_ENDPOINT_URL.

Arguments: the ARNs of a cluster role and a node role, then subnet ids. Prints one
JSON object a check: name, and error where it failed.
"""

import json
import sys
import threading
import traceback

import boto3
from botocore.exceptions import ClientError, WaiterError

CLUSTER_ROLE, NODE_ROLE, *SUBNETS = sys.argv[1:]
POLL = {"Delay": 1, "MaxAttempts": 60}
eks, ec2, iam, ssm, sts = (boto3.client(s) for s in ("eks", "ec2", "iam", "ssm", "sts"))
checks = []


def check(f):
    checks.append(f)
    return f


def equal(got, want):
    assert got == want, f"got {got!r}, want {want!r}"


def fails(code, text, call, **arguments):
    """Calls and returns the error, which must have this code and text."""
    try:
        got = call(**arguments)
    except ClientError as e:
        equal(e.response["Error"]["Code"], code)
        assert text in e.response["Error"]["Message"], f"{text!r} is not in {e.response['Error']['Message']!r}"
        return e
    raise AssertionError(f"succeeded with {got}, want {code}")


def nodegroup(name, **more):
    return dict(clusterName="boto", nodegroupName=name, nodeRole=NODE_ROLE, subnets=SUBNETS,
                scalingConfig={"minSize": 0, "maxSize": 1, "desiredSize": 0}, **more)


@check
def waiter_and_types():
    arguments = dict(name="boto", roleArn=CLUSTER_ROLE, resourcesVpcConfig={"subnetIds": SUBNETS},
                     accessConfig={"authenticationMode": "API"}, clientRequestToken="create-boto")
    first = eks.create_cluster(**arguments)["cluster"]
    equal(first["status"], "CREATING")
    equal(eks.create_cluster(**arguments)["cluster"]["arn"], first["arn"])
    fails("InvalidParameterException", "create-boto", eks.create_cluster, **{**arguments, "name": "other"})
    fails("ResourceInUseException", "Cluster already exists with name: boto", eks.create_cluster, **{**arguments, "clientRequestToken": "another"})
    eks.get_waiter("cluster_active").wait(name="boto", WaiterConfig=POLL)
    c = eks.describe_cluster(name="boto")["cluster"]
    equal(c["createdAt"].tzinfo is not None, True)
    equal((c["resourcesVpcConfig"]["endpointPublicAccess"], c["tags"]), (True, {}))


@check
def modelled_exceptions():
    try:
        eks.describe_cluster(name="nonsense")
    except eks.exceptions.ResourceNotFoundException as e:
        equal(e.response["message"], "No cluster found for name: nonsense.")
        equal(e.response["clusterName"], "nonsense")
        equal(e.response["ResponseMetadata"]["HTTPStatusCode"], 404)
        assert e.response["ResponseMetadata"]["RequestId"]
    else:
        raise AssertionError("describe_cluster succeeded")
    try:
        iam.get_role(RoleName="nonsense")
    except iam.exceptions.NoSuchEntityException as e:
        equal(e.response["Error"]["Message"], "The role with name nonsense cannot be found.")
    else:
        raise AssertionError("get_role succeeded")


@check
def nodegroup_tokens_and_pages():
    made = eks.create_nodegroup(**nodegroup("ng-0", clientRequestToken="ng"))["nodegroup"]
    equal(eks.create_nodegroup(**nodegroup("ng-0", clientRequestToken="ng"))["nodegroup"]["nodegroupArn"], made["nodegroupArn"])
    fails("ResourceInUseException", "NodeGroup already exists with name ng-0 and cluster name boto",
          eks.create_nodegroup, **nodegroup("ng-0", clientRequestToken="ng", diskSize=50))
    for i in range(1, 5):
        eks.create_nodegroup(**nodegroup(f"ng-{i}"))
    names = [f"ng-{i}" for i in range(5)]
    pages = list(eks.get_paginator("list_nodegroups").paginate(clusterName="boto", PaginationConfig={"PageSize": 2}))
    equal([p["nodegroups"] for p in pages], [names[:2], names[2:4], names[4:]])
    equal("nextToken" in pages[-1], False)
    # MaxItems makes boto3's own token, which starts again in the middle of a page.
    part = eks.get_paginator("list_nodegroups").paginate(clusterName="boto", PaginationConfig={"PageSize": 2, "MaxItems": 3}).build_full_result()
    equal(part["nodegroups"], names[:3])
    rest = eks.get_paginator("list_nodegroups").paginate(clusterName="boto", PaginationConfig={"StartingToken": part["NextToken"]}).build_full_result()
    equal(rest["nodegroups"], names[3:])
    fails("InvalidParameterException", "Invalid nextToken", eks.list_nodegroups, clusterName="boto", nextToken="nonsense")
    fails("InvalidParameterException", "maxResults", eks.list_nodegroups, clusterName="boto", maxResults=1000)
    eks.get_waiter("nodegroup_active").wait(clusterName="boto", nodegroupName="ng-4", WaiterConfig=POLL)


@check
def updates():
    logging = {"clusterLogging": [{"types": ["api"], "enabled": True}]}
    u = eks.update_cluster_config(name="boto", logging=logging, clientRequestToken="logs")["update"]
    equal(eks.describe_cluster(name="boto")["cluster"]["status"], "UPDATING")
    equal(eks.update_cluster_config(name="boto", logging=logging, clientRequestToken="logs")["update"]["id"], u["id"])
    eks.get_waiter("cluster_active").wait(name="boto", WaiterConfig=POLL)
    equal(eks.describe_update(name="boto", updateId=u["id"])["update"]["status"], "Successful")
    fails("InvalidParameterException", "No changes needed for the logging config provided", eks.update_cluster_config, name="boto", logging=logging)
    fails("ResourceNotFoundException", "No update found for ID: nonsense", eks.describe_update, name="boto", updateId="nonsense")


@check
def other_pages():
    versions = list(eks.get_paginator("describe_cluster_versions").paginate(PaginationConfig={"PageSize": 2}))
    equal(len(versions) > 1 and all(len(p["clusterVersions"]) <= 2 for p in versions), True)
    policies = eks.get_paginator("list_access_policies").paginate(PaginationConfig={"PageSize": 3}).build_full_result()["accessPolicies"]
    equal("AmazonEKSClusterAdminPolicy" in [p["name"] for p in policies], True)
    addons = eks.get_paginator("describe_addon_versions").paginate(PaginationConfig={"PageSize": 2}).build_full_result()["addons"]
    missing = {"vpc-cni", "coredns", "kube-proxy", "metrics-server", "aws-ebs-csi-driver", "eks-pod-identity-agent"} - {a["addonName"] for a in addons}
    equal(missing, set())
    pages = list(ec2.get_paginator("describe_subnets").paginate(PaginationConfig={"PageSize": 5}))
    equal(len(pages) > 1, True)
    everything = {s["SubnetId"] for p in pages for s in p["Subnets"]}
    equal(everything >= set(SUBNETS), True)
    roles = iam.get_paginator("list_roles").paginate(PaginationConfig={"PageSize": 1}).build_full_result()["Roles"]
    equal({r["Arn"] for r in roles} >= {CLUSTER_ROLE, NODE_ROLE}, True)
    images = ssm.get_paginator("get_parameters_by_path").paginate(
        Path="/aws/service/eks/optimized-ami/1.35", Recursive=True, PaginationConfig={"PageSize": 3}).build_full_result()["Parameters"]
    equal(len(images) > 3, True)


@check
def ec2_shapes():
    t = ec2.describe_instance_types(InstanceTypes=["m5.large"])["InstanceTypes"][0]
    equal((t["VCpuInfo"]["DefaultVCpus"], t["MemoryInfo"]["SizeInMiB"], t["NetworkInfo"]["MaximumNetworkInterfaces"]), (2, 8192, 3))
    s = ec2.describe_subnets(Filters=[{"Name": "subnet-id", "Values": SUBNETS}])["Subnets"]
    equal(len(s), len(SUBNETS))
    fails("InvalidSubnetID.NotFound", "The subnet ID 'subnet-00000000000000000' does not exist", ec2.describe_subnets, SubnetIds=["subnet-00000000000000000"])
    fails("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", ec2.create_vpc, CidrBlock="10.9.0.0/16", DryRun=True)
    fails("InvalidVpc.Range", "The CIDR '10.0.0.0/8' is invalid.", ec2.create_vpc, CidrBlock="10.0.0.0/8")
    fails("InvalidSubnet.Conflict", "conflicts with another subnet", ec2.create_subnet, VpcId=s[0]["VpcId"], CidrBlock=s[0]["CidrBlock"])


@check
def policies_survive_the_wire():
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "eks.amazonaws.com"},
                "Action": "sts:AssumeRole", "Condition": {"StringLike": {"aws:x": "a b+c&d=%41/ü"}}}]}
    iam.create_role(RoleName="odd", AssumeRolePolicyDocument=json.dumps(document))
    equal(iam.get_role(RoleName="odd")["Role"]["AssumeRolePolicyDocument"], document)
    fails("MalformedPolicyDocument", "", iam.create_role, RoleName="bad", AssumeRolePolicyDocument="{")
    fails("EntityAlreadyExists", "Role with name odd already exists.", iam.create_role, RoleName="odd", AssumeRolePolicyDocument=json.dumps(document))


@check
def sessions():
    account = sts.get_caller_identity()["Account"]
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{account}:root"}, "Action": "sts:AssumeRole"}]}
    role = iam.create_role(RoleName="session", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    c = sts.assume_role(RoleArn=role, RoleSessionName="me")["Credentials"]
    keys = dict(aws_access_key_id=c["AccessKeyId"], aws_secret_access_key=c["SecretAccessKey"])
    inside = boto3.client("sts", aws_session_token=c["SessionToken"], **keys)
    equal(inside.get_caller_identity()["Arn"], f"arn:aws:sts::{account}:assumed-role/session/me")
    fails("InvalidClientTokenId", "", boto3.client("sts", **keys).get_caller_identity)
    fails("AccessDenied", "is not authorized to perform: sts:AssumeRole on resource: " + NODE_ROLE, sts.assume_role, RoleArn=NODE_ROLE, RoleSessionName="me")


@check
def together():
    """Ten clients make the same thing: one wins."""
    results = []

    def make():
        try:
            results.append(eks.create_access_entry(clusterName="boto", principalArn=NODE_ROLE)["accessEntry"]["principalArn"])
        except ClientError as e:
            results.append(e.response["Error"]["Code"])

    # The node groups made the role's entry.
    eks.delete_access_entry(clusterName="boto", principalArn=NODE_ROLE)
    threads = [threading.Thread(target=make) for _ in range(10)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    equal(sorted(results), sorted(["ResourceInUseException"] * 9 + [NODE_ROLE]))


@check
def pod_identity():
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "pods.eks.amazonaws.com"}, "Action": ["sts:AssumeRole", "sts:TagSession"]}]}
    role = iam.create_role(RoleName="pods", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    a = eks.create_pod_identity_association(clusterName="boto", namespace="default", serviceAccount="app", roleArn=role)["association"]
    of = dict(clusterName="boto", associationId=a["associationId"])
    equal(eks.describe_pod_identity_association(**of)["association"]["roleArn"], role)
    equal([x["associationId"] for x in eks.list_pod_identity_associations(clusterName="boto")["associations"]], [a["associationId"]])
    eks.delete_pod_identity_association(**of)
    fails("ResourceNotFoundException", "", eks.describe_pod_identity_association, **of)


@check
def deletion():
    fails("ResourceInUseException", "Cluster has nodegroups attached", eks.delete_cluster, name="boto")
    for i in range(5):
        equal(eks.delete_nodegroup(clusterName="boto", nodegroupName=f"ng-{i}")["nodegroup"]["status"], "DELETING")
    for i in range(5):
        eks.get_waiter("nodegroup_deleted").wait(clusterName="boto", nodegroupName=f"ng-{i}", WaiterConfig=POLL)
    equal(eks.delete_cluster(name="boto")["cluster"]["status"], "DELETING")
    eks.get_waiter("cluster_deleted").wait(name="boto", WaiterConfig=POLL)
    try:
        eks.get_waiter("cluster_active").wait(name="boto", WaiterConfig={"Delay": 1, "MaxAttempts": 1})
    except WaiterError as e:
        assert "No cluster found for name: boto." in str(e), str(e)
    else:
        raise AssertionError("a deleted cluster is active")


for f in checks:
    result = {"name": f.__name__}
    try:
        f()
    except Exception:
        result["error"] = traceback.format_exc()
    print(json.dumps(result), flush=True)
