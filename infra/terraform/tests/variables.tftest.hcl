# Values that are refused. A run has one for each of many variables, for a run takes seconds; those that depend on each other
# are apart.

mock_provider "aws" {
  mock_data "aws_ec2_instance_type_offerings" {
    defaults = { instance_types = ["g6e.xlarge", "g6e.2xlarge", "g6e.12xlarge", "m7i.large"] }
  }

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
}

variables {
  region          = "us-east-1"
  zones           = ["us-east-1a", "us-east-1b"]
  bucket          = "lab-medreason"
  head_image_id   = "ami-0123456789abcdef0"
  worker_image_id = "ami-0123456789abcdef0"
  check_gpu_quota = false
}

run "refused_1" {
  command = plan

  variables {
    cluster                 = "My Cluster"
    region                  = "us-east"
    bucket                  = "lab.medreason"
    network_cidr            = "10.0.0.0/24"
    log_days                = 31
    completions_days        = 0
    noncurrent_days         = 0.5
    ray_version             = "2.9.0"
    head_instance_type      = "large"
    head_cpus               = 0
    head_disk_gb            = 8
    head_idle_minutes       = 1
    workers                 = []
    markets                 = ["reserved"]
    max_workers             = 0
    worker_idle_minutes     = 0
    worker_lost_minutes     = 1
    worker_disk_gb          = 20
    models                  = ["Qwen/"]
    head_image_id           = "amazon-linux"
    worker_image_id         = "ami-1"
    secret_parameters       = { OPENAI_API_KEY = "sk-…" }
    emr_release             = "emr-6.15.0"
    spark_idle_minutes      = 0
    spark_limit_minutes     = 1
    graph_source            = "s3://kg.csv"
    graph_name              = "a/b"
    config                  = "aws.json"
    run_name                = "a b"
    schedule                = "cron(0 3 * * *)"
    timezone                = "CEST+2"
    schedule_window_minutes = 2000
    online_limit_minutes    = 1
    alert_emails            = ["lab"]
    budget_usd              = 0
  }

  expect_failures = [
    var.cluster,
    var.region,
    var.bucket,
    var.network_cidr,
    var.log_days,
    var.completions_days,
    var.noncurrent_days,
    var.ray_version,
    var.head_instance_type,
    var.head_cpus,
    var.head_disk_gb,
    var.head_idle_minutes,
    var.workers,
    var.markets,
    var.max_workers,
    var.worker_idle_minutes,
    var.worker_lost_minutes,
    var.worker_disk_gb,
    var.models,
    var.head_image_id,
    var.worker_image_id,
    var.secret_parameters,
    var.emr_release,
    var.spark_idle_minutes,
    var.spark_limit_minutes,
    var.graph_source,
    var.graph_name,
    var.config,
    var.run_name,
    var.schedule,
    var.timezone,
    var.schedule_window_minutes,
    var.online_limit_minutes,
    var.alert_emails,
    var.budget_usd,
  ]
}

run "refused_2" {
  command = plan

  variables {
    zones        = ["eu-west-1a"]
    bucket       = "Lab"
    network_cidr = "ten"
    ray_version  = ">=2.48"
    workers      = [{ type = "m7i.large", cpus = 2, gpus = 1 }]
    schedule     = "rate(0 days)"
    poll_seconds = 5
  }

  expect_failures = [
    var.zones,
    var.bucket,
    var.network_cidr,
    var.ray_version,
    var.workers,
    var.schedule,
    var.poll_seconds,
  ]
}

run "refused_3" {
  command = plan

  variables {
    zones   = ["us-east-1a", "us-east-1a"]
    bucket  = "xn--lab"
    workers = [{ type = "g6e.xlarge", cpus = 4, gpus = 0.5 }]
  }

  expect_failures = [
    var.zones,
    var.bucket,
    var.workers,
  ]
}

run "refused_because_of_another" {
  command = plan

  variables {
    endpoint_zones    = 3
    run_limit_minutes = 3000
  }

  expect_failures = [
    var.endpoint_zones,
    var.run_limit_minutes,
  ]
}
