variable "name" { type = string }
variable "cluster_name" { type = string }
variable "kubernetes_version" { type = string }
variable "subnet_ids" { type = list(string) }
variable "security_group_ids" { type = list(string) }
variable "group" { type = any }
variable "tags" { type = map(string) }

data "aws_partition" "current" {}

locals {
  arch = strcontains(var.group.ami_type, "ARM") ? "arm64" : "x86_64"
}

data "aws_ssm_parameter" "ami" {
  name = "/aws/service/eks/optimized-ami/${var.kubernetes_version}/amazon-linux-2023/${local.arch}/standard/recommended/release_version"
}

resource "aws_launch_template" "this" {
  name_prefix            = "${var.name}-"
  description            = "Custom launch template for ${var.name} EKS managed node group"
  update_default_version = true
  vpc_security_group_ids = var.security_group_ids

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      delete_on_termination = true
      encrypted             = true
      volume_size           = 40
      volume_type           = "gp3"
      iops                  = 3000
      throughput            = 150
    }
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_put_response_hop_limit = 2
    http_tokens                 = "required"
  }

  monitoring {
    enabled = true
  }

  dynamic "tag_specifications" {
    for_each = toset(["instance", "volume", "network-interface"])

    content {
      resource_type = tag_specifications.key
      tags          = merge(var.tags, { Name = var.name })
    }
  }

  tags = var.tags

  # The policies must be there before nodes start, and after they have gone.
  depends_on = [aws_iam_role_policy_attachment.this]

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_eks_node_group" "this" {
  cluster_name           = var.cluster_name
  node_role_arn          = aws_iam_role.this.arn
  subnet_ids             = var.subnet_ids
  node_group_name_prefix = "${var.name}-"
  ami_type               = var.group.ami_type
  release_version        = nonsensitive(data.aws_ssm_parameter.ami.value)
  version                = var.kubernetes_version
  capacity_type          = var.group.capacity_type
  instance_types         = var.group.instance_types
  labels                 = var.group.labels

  scaling_config {
    min_size     = var.group.min_size
    max_size     = var.group.max_size
    desired_size = var.group.desired_size
  }

  launch_template {
    id      = aws_launch_template.this.id
    version = aws_launch_template.this.default_version
  }

  dynamic "taint" {
    for_each = var.group.taints

    content {
      key    = taint.value.key
      value  = try(taint.value.value, null)
      effect = taint.value.effect
    }
  }

  update_config {
    max_unavailable_percentage = 33
  }

  node_repair_config {
    enabled = true
  }

  tags = merge(var.tags, { Name = var.name })

  lifecycle {
    create_before_destroy = true
    ignore_changes        = [scaling_config[0].desired_size]
  }
}

data "aws_iam_policy_document" "assume_role_policy" {
  statement {
    sid     = "EKSNodeAssumeRole"
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "this" {
  name_prefix           = "${var.name}-eks-node-group-"
  description           = "EKS managed node group IAM role"
  assume_role_policy    = data.aws_iam_policy_document.assume_role_policy.json
  force_detach_policies = true
  tags                  = var.tags
}

resource "aws_iam_role_policy_attachment" "this" {
  for_each = { for p in ["AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryReadOnly", "AmazonEKS_CNI_Policy"] :
    p => "arn:${data.aws_partition.current.partition}:iam::aws:policy/${p}"
  }

  policy_arn = each.value
  role       = aws_iam_role.this.name
}
