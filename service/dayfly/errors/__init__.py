"""The tree of errors. Each has a stable `code`, which callers may rely on, and a flag `retryable`.

    DayflyError
    ├── InvalidRequest            the request is invalid                                        (HTTP 422)
    │   ├── BadName               the name is not valid                         bad_name
    │   ├── ImageMissing          no such image on this engine                  image_missing
    │   │   └── ImageRetired      no new cluster may use the image              image_retired
    │   ├── NotANodeImage         not a node image of this Dayfly               not_a_node_image
    │   ├── ImpossibleSize        the image or the plan does not allow the size impossible_size
    │   ├── Capacity              larger than the whole host                    capacity
    │   ├── TooManyNodes          more nodes than addresses                     too_many_nodes
    │   ├── AddonUnavailable      this installation cannot have the add-on yet  addon_unavailable
    │   └── OidcFileInvalid       the file of OIDC rules cannot be used         oidc_file_invalid
    ├── NotFound                  no such cluster, node, …                                      (HTTP 404)
    │   └── NoKubernetes          the cluster has no Kubernetes                 no_kubernetes
    ├── Conflict                  not possible in the present state                             (HTTP 409)
    │   ├── IdempotencyKeyReused  the key belongs to another request            idempotency_key_reused
    │   ├── NameTaken             another cluster, pool or team has the name    name_taken
    │   ├── NotReady              the cluster is not ready                      not_ready
    │   ├── BakesOff              no bakes over HTTP in this installation       bakes_off
    │   ├── BakeQueueFull         too many bakes are queued                     bake_queue_full
    │   ├── QuotaExceeded         the team would have more than its quota       quota_exceeded
    │   │   └── LongPollsExceeded this server holds enough answers of the team  long_polls_exceeded (HTTP 429)
    │   ├── WebhookLimit          the team has as many webhooks as it may       webhook_limit
    │   └── WebhookDisabled       a disabled webhook is not called              webhook_disabled
    ├── PreconditionFailed        the resource has changed meanwhile          precondition_failed (HTTP 412)
    ├── RateLimited               the caller makes too many requests          rate_limited        (HTTP 429)
    ├── TooManyWaits              this server holds enough answers            too_many_waits      (HTTP 503)
    ├── TooManyStreams            this server serves enough streams           too_many_streams    (HTTP 503)
    ├── Unauthenticated           no valid proof of who the caller is         unauthenticated     (HTTP 401)
    │   └── TokenRefused          the OIDC token is not valid here              token_refused
    ├── Forbidden                 the caller's role does not allow it         forbidden           (HTTP 403)
    │   ├── NoRuleMatches         no rule gives the token a team                no_rule_matches
    │   ├── IsolationRequired     the team's clusters must be strict            isolation_required
    │   └── OverBounds            larger or longer than the token allows        over_bounds
    ├── LeaseLost                 another worker has the lease                  lease_lost
    ├── InfrastructureError       an outage: the worker requeues the cluster                    (HTTP 503)
    │   ├── DatabaseUnavailable   the database does not answer                  database_unavailable
    │   ├── EngineUnavailable     the engine does not answer                    engine_unavailable
    │   ├── IssuerUnavailable     an OIDC issuer does not answer                issuer_unavailable
    │   └── SecretsKeyMissing     the process lacks the key of the secrets      secrets_key_missing
    └── Failure                   an operation failed
        ├── DatabaseInUse         another process has the SQLite file open      database_in_use
        ├── EngineRefused         the engine returned an error                  engine_refused
        ├── NotRemoved            an object still exists after its removal      not_removed
        ├── RegistryRefused       a registry's login or TLS is invalid          registry_refused
        ├── PortsExhausted        no host port is free                          ports_exhausted
        ├── TlsUnusable           the API's certificate or key is not usable    tls_unusable
        ├── SecretsKeyUnusable    the keys of the secrets cannot be read        secrets_key_unusable
        ├── SecretDamaged         a secret in the database was changed          secret_damaged
        ├── DiskFull              no space left on the device                   disk_full
        ├── ContainerExited       a container ended by itself                   container_exited
        ├── ContainerRemoved      a container was removed from outside          container_removed
        ├── EngineRestarted       engine or host restarted, the cluster did not engine_restarted
        ├── VmExited              QEMU ended by itself                          vm_exited
        ├── Expired               a hold keeps the expired cluster              expired
        ├── DhcpTimeout           a node did not request its address            dhcp_timeout
        ├── SshTimeout            a node did not answer on SSH                  ssh_timeout
        ├── SshRefused            a node rejected SSH, or has another host key  ssh_refused
        ├── CommandFailed         a command on a node ended non-zero            command_failed
        ├── ControlPlaneInit      kubeadm init failed                           control_plane_init
        ├── JoinFailed            kubeadm join failed                           join
        ├── NodeNotReady          a node did not become Ready in time           node_not_ready
        ├── NotUsable             Ready, yet no pod ran                         not_usable
        ├── AddonFailed           an add-on is not installed, or does not work  addon_failed
        ├── AddonFetchFailed      a manifest of an add-on cannot be fetched     addon_fetch_failed
        ├── AddonContentDiffers   a manifest does not have its digest           addon_content_differs
        ├── ConformanceFailed     a conformance spec failed, or does not exist  conformance_failed
        ├── SavedStateMissing     a VM's snapshot is missing                    saved_state_missing
        ├── SavedElsewhere        snapshot of another host or accelerator       saved_elsewhere
        ├── CheckpointNotLoaded   a checkpoint cannot be restored               checkpoint_not_loaded
        ├── StepTimeout           a step took longer than its limit             step_timeout
        ├── ImageBroken           a node image lacks parts of its manifest      image_broken
        ├── BakeFailed            a bake phase failed                           bake_failed
        ├── BaseFetchFailed       a base's image cannot be downloaded           base_fetch_failed
        ├── BaseTruncated         a base's download always ends early           base_truncated
        ├── BaseContentDiffers    a base's image has another checksum           base_content_differs
        ├── BaseSignatureInvalid  a base's checksums: no valid signature        base_signature_invalid
        ├── BaseSignatureExpired  a base's checksums: signature or key expired  base_signature_expired
        ├── BaseChecksumMissing   a base's checksums: not of its image          base_checksum_missing
        ├── NotADiskImage         a base's image is no usable disk image        not_a_disk_image
        ├── NoBootLoader          a base's image cannot boot as it must         no_boot_loader
        ├── NoCloudInit           a base's image has no cloud-init              no_cloud_init
        ├── CloudInitFailed       cloud-init failed in a base's first boot      cloud_init_failed
        ├── UpstreamUnavailable   an address of a bake does not answer          upstream_unavailable
        ├── BakeInterrupted       builders ended during a bake, too often       bake_interrupted
        ├── WebhookAddressForbidden   no address that webhooks may call         webhook_address_forbidden
        ├── WebhookUnreachable    no connection to a webhook's receiver         webhook_unreachable
        ├── WebhookTlsFailed      a webhook's receiver has no valid certificate webhook_tls_failed
        ├── WebhookTimeout        a webhook's receiver did not answer in time   webhook_timeout
        ├── WebhookRefused        a webhook's receiver answered no success      webhook_refused
        ├── WebhookNotHttp        a webhook's receiver answered no HTTP         webhook_not_http
        └── Internal              a defect of Dayfly; the log has the traceback internal

The first line of a class's docstring is the title of its problems. Not here: HTTP (api/problems.py).
"""

from __future__ import annotations

from dayfly.errors.base import *  # noqa: F403 - the whole tree
from dayfly.errors.bases import *  # noqa: F403 - the whole tree
from dayfly.errors.failures import *  # noqa: F403 - the whole tree
from dayfly.errors.requests import *  # noqa: F403 - the whole tree
from dayfly.errors.webhooks import *  # noqa: F403 - the whole tree
