resource "aws_security_group" "cluster" {
  name_prefix = "${var.name}-cluster-"
  description = "EKS cluster security group"
  vpc_id      = var.vpc_id
  tags        = merge(var.tags, { "Name" = "${var.name}-cluster" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_security_group_rule" "cluster" {
  for_each = {
    ingress_nodes_443 = {
      description = "Node groups to cluster API"
      from_port   = 443
      to_port     = 443
    }
  }

  security_group_id        = aws_security_group.cluster.id
  protocol                 = "tcp"
  from_port                = each.value.from_port
  to_port                  = each.value.to_port
  type                     = "ingress"
  description              = each.value.description
  source_security_group_id = aws_security_group.node.id
}

locals {
  node_rules = merge(
    { for name, port in { cluster_443 = 443, cluster_kubelet = 10250, cluster_4443_webhook = 4443, cluster_8443_webhook = 8443, cluster_9443_webhook = 9443 } :
      "ingress_${name}" => { description = "Cluster API to node ${port}/tcp", protocol = "tcp", from_port = port, to_port = port, type = "ingress", source_cluster_security_group = true }
    },
    {
      ingress_self_coredns_tcp = { description = "Node to node CoreDNS", protocol = "tcp", from_port = 53, to_port = 53, type = "ingress", self = true }
      ingress_self_coredns_udp = { description = "Node to node CoreDNS UDP", protocol = "udp", from_port = 53, to_port = 53, type = "ingress", self = true }
      ingress_nodes_ephemeral  = { description = "Node to node ingress on ephemeral ports", protocol = "tcp", from_port = 1025, to_port = 65535, type = "ingress", self = true }
      egress_all               = { description = "Allow all egress", protocol = "-1", from_port = 0, to_port = 0, type = "egress", cidr_blocks = ["0.0.0.0/0"] }
    },
  )
}

resource "aws_security_group" "node" {
  name_prefix = "${var.name}-node-"
  description = "EKS node shared security group"
  vpc_id      = var.vpc_id
  tags        = merge(var.tags, { "Name" = "${var.name}-node", "kubernetes.io/cluster/${var.name}" = "owned" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_security_group_rule" "node" {
  for_each = local.node_rules

  security_group_id        = aws_security_group.node.id
  protocol                 = each.value.protocol
  from_port                = each.value.from_port
  to_port                  = each.value.to_port
  type                     = each.value.type
  description              = each.value.description
  cidr_blocks              = try(each.value.cidr_blocks, null)
  self                     = try(each.value.self, null)
  source_security_group_id = try(each.value.source_cluster_security_group, false) ? aws_security_group.cluster.id : null
}

# The newer resources for rules, as in the modules' node groups.
resource "aws_vpc_security_group_ingress_rule" "https" {
  security_group_id = aws_security_group.node.id
  description       = "Health checks"
  cidr_ipv4         = "10.0.0.0/8"
  ip_protocol       = "tcp"
  from_port         = 8080
  to_port           = 8080
  tags              = { Name = "${var.name}-health" }
}

resource "aws_vpc_security_group_egress_rule" "ntp" {
  security_group_id            = aws_security_group.cluster.id
  referenced_security_group_id = aws_security_group.node.id
  ip_protocol                  = "-1"
}
