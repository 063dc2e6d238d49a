data "aws_eks_cluster" "this" {
  name = aws_eks_cluster.this.name
}

data "aws_eks_cluster_auth" "this" {
  name = aws_eks_cluster.this.name
}

output "endpoint" {
  value = data.aws_eks_cluster.this.endpoint
}

output "certificate_authority" {
  value = data.aws_eks_cluster.this.certificate_authority[0].data
}

