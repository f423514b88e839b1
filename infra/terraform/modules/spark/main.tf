# No initial capacity: it would be paid for while the application stands started and idle.
resource "aws_emrserverless_application" "this" {
  name          = var.name
  release_label = var.release_label
  type          = "spark"
  architecture  = "X86_64"

  auto_start_configuration {
    enabled = true
  }

  auto_stop_configuration {
    enabled              = true
    idle_timeout_minutes = var.idle_minutes
  }

  maximum_capacity {
    cpu    = "${var.maximum.vcpu} vCPU"
    memory = "${var.maximum.memory_gb} GB"
    disk   = "${var.maximum.disk_gb} GB"
  }

  network_configuration {
    subnet_ids         = var.subnet_ids
    security_group_ids = [var.security_group_id]
  }
}

locals {
  environments = "s3://${var.bucket}/${var.prefixes.environments}"

  # An archive is unpacked under the name after # where driver and executors start.
  spark_submit = {
    "spark.archives"                                = "${local.environments}spark.tar.gz#environment,${local.environments}project.tar.gz#project"
    "spark.jars"                                    = "${local.environments}graphframes.jar"
    "spark.emr-serverless.driverEnv.PYSPARK_PYTHON" = "./environment/bin/python"
    "spark.emr-serverless.driverEnv.PYTHONPATH"     = "./project"
    # configs/aws.yaml asks for it.
    "spark.emr-serverless.driverEnv.MEDREASON_BUCKET" = var.bucket
    "spark.executorEnv.PYSPARK_PYTHON"                = "./environment/bin/python"
    "spark.executorEnv.PYTHONPATH"                    = "./project"
    "spark.emr-serverless.driver.disk"                = "50g"
    "spark.emr-serverless.executor.disk"              = "50g"
    "spark.dynamicAllocation.maxExecutors"            = "16"
    "spark.emr-serverless.allocation.batch.size"      = "8"
  }

  # What emr-serverless:StartJobRun takes as JobDriver and ConfigurationOverrides.
  job = {
    JobDriver = {
      SparkSubmit = {
        EntryPoint = "${local.environments}jobs/build_neighborhoods.py"
        EntryPointArguments = [
          "--config", "project/${var.config}", "neighborhoods.engine=spark",
          "graph.source=${var.graph_source}", "graph.uri=${var.graph_uri}",
        ]
        SparkSubmitParameters = join(" ", [for key, value in local.spark_submit : "--conf ${key}=${value}"])
      }
    }
    ConfigurationOverrides = {
      MonitoringConfiguration = {
        S3MonitoringConfiguration = { LogUri = "s3://${var.bucket}/${var.prefixes.logs}spark/" }
        # It would write to a bucket of EMR's own, which the VPC's endpoint does not let through.
        ManagedPersistenceMonitoringConfiguration = { Enabled = false }
      }
    }
  }
}
