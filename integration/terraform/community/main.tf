# The resources that the community modules for VPC and EKS make, condensed: the same
# kinds, loops, defaults and look-ups, so that the provider calls what it calls for
# most of its users.

variable "name" {
  type    = string
  default = "community"
}

variable "kubernetes_version" {
  type    = string
  default = "1.35"
}

variable "node_groups" {
  type = map(object({
    instance_types = optional(list(string), ["m6i.large"])
    ami_type       = optional(string, "AL2023_x86_64_STANDARD")
    capacity_type  = optional(string, "ON_DEMAND")
    min_size       = optional(number, 1)
    desired_size   = optional(number, 1)
    max_size       = optional(number, 3)
    labels         = optional(map(string), {})
    taints         = optional(map(object({ key = string, value = optional(string), effect = string })), {})
  }))
  default = {
    general = { desired_size = 2 }
    arm = {
      instance_types = ["m7g.large", "m6g.large"]
      ami_type       = "AL2023_ARM_64_STANDARD"
      capacity_type  = "SPOT"
      labels         = { arch = "arm" }
      taints         = { arm = { key = "arch", value = "arm", effect = "NO_SCHEDULE" } }
    }
  }
}

locals {
  tags = { Environment = "test", Repository = "infrastructure" }
}

module "vpc" {
  source = "./vpc"

  name = var.name
  cidr = "10.40.0.0/16"
  azs  = slice(data.aws_availability_zones.available.names, 0, 3)

  public_subnet_tags  = { "kubernetes.io/role/elb" = 1 }
  private_subnet_tags = { "kubernetes.io/role/internal-elb" = 1, "karpenter.sh/discovery" = var.name }
  tags                = local.tags
}

data "aws_availability_zones" "available" {
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

module "eks" {
  source = "./eks"

  name               = var.name
  kubernetes_version = var.kubernetes_version

  vpc_id                   = module.vpc.vpc_id
  subnet_ids               = module.vpc.private_subnets
  control_plane_subnet_ids = module.vpc.intra_subnets
  node_groups              = var.node_groups

  addons = {
    vpc-cni = {
      before_compute       = true
      most_recent          = true
      configuration_values = jsonencode({ env = { ENABLE_PREFIX_DELEGATION = "true", WARM_PREFIX_TARGET = "1" } })
    }
    eks-pod-identity-agent = { before_compute = true }
    kube-proxy             = {}
    coredns                = {}
  }

  access_entries = {
    developers = {
      principal_arn = aws_iam_role.developers.arn
      policy_associations = {
        edit = {
          policy_arn   = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSEditPolicy"
          access_scope = { type = "namespace", namespaces = ["default"] }
        }
        view = {
          policy_arn   = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"
          access_scope = { type = "cluster" }
        }
      }
    }
  }

  tags = local.tags
}

data "aws_caller_identity" "current" {}

data "aws_iam_policy_document" "developers" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "AWS"
      identifiers = [data.aws_caller_identity.current.account_id]
    }
  }
}

resource "aws_iam_role" "developers" {
  name_prefix        = "developers-"
  assume_role_policy = data.aws_iam_policy_document.developers.json
  tags               = local.tags
}

# Pod identity for something in the cluster.
data "aws_iam_policy_document" "pods" {
  statement {
    actions = ["sts:AssumeRole", "sts:TagSession"]

    principals {
      type        = "Service"
      identifiers = ["pods.eks.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "pods" {
  name_prefix        = "${var.name}-pods-"
  assume_role_policy = data.aws_iam_policy_document.pods.json
  tags               = local.tags
}

resource "aws_eks_pod_identity_association" "app" {
  cluster_name    = module.eks.cluster_name
  namespace       = "app"
  service_account = "app"
  role_arn        = aws_iam_role.pods.arn
  tags            = local.tags
}

data "aws_eks_cluster_auth" "this" {
  name = module.eks.cluster_name
}

output "cluster_endpoint" {
  value = module.eks.cluster_endpoint
}

output "oidc_provider_arn" {
  value = module.eks.oidc_provider_arn
}
