variable "name" {
  description = "The cluster's name."
  type        = string
}

variable "enabled" {
  description = "Whether the schedule runs. The state machine can be started by hand either way."
  type        = bool
}

variable "expression" {
  description = "rate(…), cron(…) or at(…) of EventBridge Scheduler."
  type        = string
}

variable "timezone" {
  description = "Time zone of the expression."
  type        = string
}

variable "window_minutes" {
  description = "Minutes after the hour within which an execution may start; 0 for at once."
  type        = number
}

variable "bucket" {
  description = "Name of the bucket."
  type        = string
}

variable "prefixes" {
  description = "What lies where in the bucket, from modules/storage."
  type        = map(string)
}

variable "source_key" {
  description = "Key of the graph's source in the bucket."
  type        = string
}

variable "graph_key" {
  description = "Key of the graph's folder in the bucket, without a slash at the end."
  type        = string
}

variable "run_name" {
  description = "Name of the scheduled run; its folder is runs/<name>-<version of the graph's source>."
  type        = string
}

variable "spark_application_id" {
  description = "EMR Serverless application."
  type        = string
}

variable "spark_role_arn" {
  description = "Role of the Spark job."
  type        = string
}

variable "spark_job" {
  description = "JobDriver and ConfigurationOverrides of the Spark job."
  type        = any
}

variable "spark_limit_minutes" {
  description = "Minutes after which the Spark job is cancelled."
  type        = number
}

variable "head_instance_id" {
  description = "Instance of Ray's head."
  type        = string
}

variable "job_document" {
  description = "Name of the SSM document for jobs on the head."
  type        = string
}

variable "online_limit_minutes" {
  description = "Minutes that the head has to come online."
  type        = number
}

variable "poll_seconds" {
  description = "Seconds between two looks at the Ray job."
  type        = number
}

variable "run_limit_minutes" {
  description = "Minutes after which the Ray job is stopped."
  type        = number
}

variable "state_machine_role_arn" {
  description = "Role of the state machine."
  type        = string
}

variable "scheduler_role_arn" {
  description = "Role of the schedule."
  type        = string
}

variable "key_arn" {
  description = "KMS key of topic and log group."
  type        = string
}

variable "alert_emails" {
  description = "Addresses that alerts go to; each has to confirm AWS' first mail."
  type        = list(string)
}

variable "budget_usd" {
  description = "Budget of a month, in US dollars."
  type        = number
}

variable "log_days" {
  description = "Days for which the state machine's log is kept."
  type        = number
}
