output "application_id" {
  description = "Id of the EMR Serverless application."
  value       = aws_emrserverless_application.this.id
}

output "application_arn" {
  description = "ARN of the EMR Serverless application."
  value       = aws_emrserverless_application.this.arn
}

output "job" {
  description = "JobDriver and ConfigurationOverrides of the job that builds the neighborhoods."
  value       = local.job
}
