output "bucket" {
  description = "Name of the bucket. Known once its policy and encryption stand."
  value       = aws_s3_bucket.this.bucket
  depends_on  = [aws_s3_bucket_policy.this, aws_s3_bucket_server_side_encryption_configuration.this]
}

output "bucket_arn" {
  description = "ARN of the bucket."
  value       = aws_s3_bucket.this.arn
}

output "prefixes" {
  description = "What lies where in the bucket: name → prefix, with a slash at the end."
  value       = local.prefixes
}

output "key_arn" {
  description = "ARN of the KMS key of bucket, log groups and alerts."
  value       = aws_kms_key.this.arn
}

output "bucket_policy" {
  description = "The bucket's policy, JSON."
  value       = local.bucket_policy
}
