"""The models of requests and answers."""

from .access_decision import AccessDecision
from .access_explanation import AccessExplanation
from .access_given import AccessGiven
from .access_matrix import AccessMatrix
from .access_matrix_cell import AccessMatrixCell
from .access_matrix_row import AccessMatrixRow
from .access_narrowing import AccessNarrowing
from .access_reason import AccessReason
from .access_request import AccessRequest
from .access_token import AccessToken
from .access_token_type import AccessTokenType
from .administrator import Administrator
from .administrator_order import AdministratorOrder
from .administrator_page import AdministratorPage
from .administrator_status import AdministratorStatus
from .all_servers import AllServers
from .all_tools import AllTools
from .applied import Applied
from .applied_outcome import AppliedOutcome
from .applied_proposal import AppliedProposal
from .approval import Approval
from .approval_access import ApprovalAccess
from .approval_agreement import ApprovalAgreement
from .approval_arguments import ApprovalArguments
from .approval_decision import ApprovalDecision
from .approval_defect import ApprovalDefect
from .approval_group import ApprovalGroup
from .approval_identity import ApprovalIdentity
from .approval_kind import ApprovalKind
from .approval_owner import ApprovalOwner
from .approval_page import ApprovalPage
from .approval_policy import ApprovalPolicy
from .approval_server import ApprovalServer
from .approval_status import ApprovalStatus
from .approval_token import ApprovalToken
from .approval_tool import ApprovalTool
from .arguments_used import ArgumentsUsed
from .asked_arguments import AskedArguments
from .asking_client import AskingClient
from .audit_actor import AuditActor
from .audit_arguments import AuditArguments
from .audit_changes import AuditChanges
from .audit_checkpoint import AuditCheckpoint
from .audit_checkpoint_page import AuditCheckpointPage
from .audit_consistency_proof import AuditConsistencyProof
from .audit_counts import AuditCounts
from .audit_decision import AuditDecision
from .audit_event import AuditEvent
from .audit_event_page import AuditEventPage
from .audit_event_proof import AuditEventProof
from .audit_export_format import AuditExportFormat
from .audit_hour_counts import AuditHourCounts
from .audit_log_key import AuditLogKey
from .audit_log_keys import AuditLogKeys
from .audit_outcome import AuditOutcome
from .audit_range_proof import AuditRangeProof
from .audit_sink import AuditSink
from .audit_sink_compression import AuditSinkCompression
from .audit_sink_create import AuditSinkCreate
from .audit_sink_credential_kind import AuditSinkCredentialKind
from .audit_sink_error import AuditSinkError
from .audit_sink_format import AuditSinkFormat
from .audit_sink_lag import AuditSinkLag
from .audit_sink_order import AuditSinkOrder
from .audit_sink_page import AuditSinkPage
from .audit_sink_start import AuditSinkStart
from .audit_sink_status import AuditSinkStatus
from .audit_sink_update import AuditSinkUpdate
from .audit_stats import AuditStats
from .audited_client import AuditedClient
from .audited_object import AuditedObject
from .audited_server import AuditedServer
from .bearer_audit_sink_credential import BearerAuditSinkCredential
from .bearer_credential import BearerCredential
from .break_glass_sign_in import BreakGlassSignIn
from .break_glass_token import BreakGlassToken
from .caller_type import CallerType
from .calls_and_people import CallsAndPeople
from .change_kind import ChangeKind
from .check_state import CheckState
from .check_step import CheckStep
from .checked_thing import CheckedThing
from .connect_settings import ConnectSettings
from .connect_snippet import ConnectSnippet
from .connection_check import ConnectionCheck
from .connection_check_request import ConnectionCheckRequest
from .considered_entry import ConsideredEntry
from .considered_grant import ConsideredGrant
from .considered_policy import ConsideredPolicy
from .considered_token import ConsideredToken
from .counted_use import CountedUse
from .create_access_token_body import CreateAccessTokenBody
from .credential_summary import CredentialSummary
from .definition_change import DefinitionChange
from .end_proposal import EndProposal
from .ended_token import EndedToken
from .env_credential import EnvCredential
from .environment_variables import EnvironmentVariables
from .explain_request import ExplainRequest
from .get_liveness_response_get_liveness import GetLivenessResponseGetLiveness
from .grant import Grant
from .grant_create import GrantCreate
from .grant_fault import GrantFault
from .grant_order import GrantOrder
from .grant_page import GrantPage
from .grant_preview import GrantPreview
from .grant_preview_request import GrantPreviewRequest
from .grant_status import GrantStatus
from .grant_update import GrantUpdate
from .grants_scope import GrantsScope
from .group import Group
from .group_create import GroupCreate
from .group_member import GroupMember
from .group_member_page import GroupMemberPage
from .group_order import GroupOrder
from .group_page import GroupPage
from .group_principal import GroupPrincipal
from .group_update import GroupUpdate
from .header_audit_sink_credential import HeaderAuditSinkCredential
from .header_credential import HeaderCredential
from .identity import Identity
from .identity_access import IdentityAccess
from .identity_attribute_changes import IdentityAttributeChanges
from .identity_attributes import IdentityAttributes
from .identity_create import IdentityCreate
from .identity_kind import IdentityKind
from .identity_link import IdentityLink
from .identity_link_kind import IdentityLinkKind
from .identity_order import IdentityOrder
from .identity_page import IdentityPage
from .identity_principal import IdentityPrincipal
from .identity_provider import IdentityProvider
from .identity_provider_create import IdentityProviderCreate
from .identity_provider_order import IdentityProviderOrder
from .identity_provider_page import IdentityProviderPage
from .identity_provider_source import IdentityProviderSource
from .identity_provider_status import IdentityProviderStatus
from .identity_provider_update import IdentityProviderUpdate
from .identity_status import IdentityStatus
from .identity_update import IdentityUpdate
from .instructions_approve import InstructionsApprove
from .instructions_state import InstructionsState
from .issued_credential import IssuedCredential
from .issued_token import IssuedToken
from .issued_webhook_secret import IssuedWebhookSecret
from .json_schema import JsonSchema
from .json_web_key import JsonWebKey
from .json_web_key_set import JsonWebKeySet
from .keep_arguments import KeepArguments
from .kept_arguments import KeptArguments
from .label_changes import LabelChanges
from .labels import Labels
from .listed_scope import ListedScope
from .me import Me
from .narrow_proposal import NarrowProposal
from .narrowing_note import NarrowingNote
from .needed_approval import NeededApproval
from .new_tools import NewTools
from .no_audit_sink_credential import NoAuditSinkCredential
from .no_credential import NoCredential
from .not_replayable import NotReplayable
from .o_auth_client_credential import OAuthClientCredential
from .o_auth_error import OAuthError
from .offboard_preview import OffboardPreview
from .offboard_receipt import OffboardReceipt
from .offboard_request import OffboardRequest
from .offboard_revocations import OffboardRevocations
from .offboard_transfer import OffboardTransfer
from .offboarded_by import OffboardedBy
from .offboarded_via import OffboardedVia
from .offboarding_receipt import OffboardingReceipt
from .offboarding_receipt_content import OffboardingReceiptContent
from .offboarding_receipt_page import OffboardingReceiptPage
from .own_token_pickup import OwnTokenPickup
from .permission import Permission
from .pickup_state import PickupState
from .policy import Policy
from .policy_action import PolicyAction
from .policy_change import PolicyChange
from .policy_create import PolicyCreate
from .policy_diff import PolicyDiff
from .policy_effect import PolicyEffect
from .policy_mode import PolicyMode
from .policy_order import PolicyOrder
from .policy_outcome import PolicyOutcome
from .policy_page import PolicyPage
from .policy_rollback import PolicyRollback
from .policy_schema import PolicySchema
from .policy_simulation import PolicySimulation
from .policy_status import PolicyStatus
from .policy_template import PolicyTemplate
from .policy_template_parameters import PolicyTemplateParameters
from .policy_template_render import PolicyTemplateRender
from .policy_templates import PolicyTemplates
from .policy_test import PolicyTest
from .policy_test_arguments import PolicyTestArguments
from .policy_test_client import PolicyTestClient
from .policy_test_identity import PolicyTestIdentity
from .policy_test_owner import PolicyTestOwner
from .policy_test_report import PolicyTestReport
from .policy_test_request import PolicyTestRequest
from .policy_test_result import PolicyTestResult
from .policy_update import PolicyUpdate
from .policy_version import PolicyVersion
from .policy_version_page import PolicyVersionPage
from .policy_warning import PolicyWarning
from .previewed_server import PreviewedServer
from .previewed_tool import PreviewedTool
from .problem import Problem
from .problem_error import ProblemError
from .reached_server import ReachedServer
from .reached_tool import ReachedTool
from .receipt_agents import ReceiptAgents
from .receipt_schedule import ReceiptSchedule
from .recorded_decision import RecordedDecision
from .rendered_policy import RenderedPolicy
from .requestable_server import RequestableServer
from .requestable_server_page import RequestableServerPage
from .requestable_tool import RequestableTool
from .revoked_tokens import RevokedTokens
from .risk import Risk
from .role import Role
from .role_assignment import RoleAssignment
from .role_map import RoleMap
from .role_map_changes import RoleMapChanges
from .scheduled_offboarding import ScheduledOffboarding
from .scheduled_offboarding_page import ScheduledOffboardingPage
from .scheduled_offboarding_status import ScheduledOffboardingStatus
from .scim_attribute_changes import ScimAttributeChanges
from .scim_attributes import ScimAttributes
from .scim_link_attribute import ScimLinkAttribute
from .scim_settings import ScimSettings
from .scim_settings_update import ScimSettingsUpdate
from .scope_entry import ScopeEntry
from .secret import Secret
from .server import Server
from .server_create import ServerCreate
from .server_instructions import ServerInstructions
from .server_order import ServerOrder
from .server_page import ServerPage
from .server_part import ServerPart
from .server_status import ServerStatus
from .server_sync import ServerSync
from .server_update import ServerUpdate
from .servers_by_ids import ServersByIds
from .servers_by_labels import ServersByLabels
from .service_account import ServiceAccount
from .service_account_create import ServiceAccountCreate
from .service_account_credential import ServiceAccountCredential
from .service_account_credential_page import ServiceAccountCredentialPage
from .service_account_order import ServiceAccountOrder
from .service_account_page import ServiceAccountPage
from .service_account_status import ServiceAccountStatus
from .service_account_update import ServiceAccountUpdate
from .settable_tool_state import SettableToolState
from .signal_credential_request import SignalCredentialRequest
from .signal_stream import SignalStream
from .signal_stream_error import SignalStreamError
from .signal_stream_request import SignalStreamRequest
from .signal_stream_status import SignalStreamStatus
from .signals_delivery import SignalsDelivery
from .signals_settings import SignalsSettings
from .signals_settings_update import SignalsSettingsUpdate
from .signing_algorithm import SigningAlgorithm
from .simulate_request import SimulateRequest
from .simulated_call import SimulatedCall
from .simulated_change import SimulatedChange
from .simulated_decision import SimulatedDecision
from .source import Source
from .stale_access_page import StaleAccessPage
from .stale_applied import StaleApplied
from .stale_apply import StaleApply
from .stale_grant import StaleGrant
from .stale_kind import StaleKind
from .stale_state import StaleState
from .stale_token import StaleToken
from .sync_state import SyncState
from .token import Token
from .token_bulk_revocation import TokenBulkRevocation
from .token_bulk_revoke import TokenBulkRevoke
from .token_bulk_revoke_filter import TokenBulkRevokeFilter
from .token_create import TokenCreate
from .token_delivery import TokenDelivery
from .token_endpoint_auth_method import TokenEndpointAuthMethod
from .token_order import TokenOrder
from .token_page import TokenPage
from .token_pickup import TokenPickup
from .token_pickup_create import TokenPickupCreate
from .token_pickup_page import TokenPickupPage
from .token_proposal import TokenProposal
from .token_revocation import TokenRevocation
from .token_revoke import TokenRevoke
from .token_rotate import TokenRotate
from .token_status import TokenStatus
from .token_update import TokenUpdate
from .tool import Tool
from .tool_access import ToolAccess
from .tool_annotations import ToolAnnotations
from .tool_approve import ToolApprove
from .tool_caller import ToolCaller
from .tool_changes import ToolChanges
from .tool_create import ToolCreate
from .tool_definition import ToolDefinition
from .tool_grant import ToolGrant
from .tool_grants import ToolGrants
from .tool_order import ToolOrder
from .tool_page import ToolPage
from .tool_state import ToolState
from .tool_update import ToolUpdate
from .tools_by_names import ToolsByNames
from .tools_by_risk import ToolsByRisk
from .tools_by_risk_counts import ToolsByRiskCounts
from .transport import Transport
from .unused_tool import UnusedTool
from .upstream_credential import UpstreamCredential
from .upstream_credential_kind import UpstreamCredentialKind
from .upstream_credential_page import UpstreamCredentialPage
from .used_part import UsedPart
from .used_thing import UsedThing
from .webhook import Webhook
from .webhook_create import WebhookCreate
from .webhook_delivery import WebhookDelivery
from .webhook_delivery_error import WebhookDeliveryError
from .webhook_delivery_page import WebhookDeliveryPage
from .webhook_delivery_state import WebhookDeliveryState
from .webhook_disabled_reason import WebhookDisabledReason
from .webhook_event import WebhookEvent
from .webhook_message_data import WebhookMessageData
from .webhook_order import WebhookOrder
from .webhook_page import WebhookPage
from .webhook_rotate import WebhookRotate
from .webhook_status import WebhookStatus
from .webhook_update import WebhookUpdate
from .workload import Workload
from .workload_claims import WorkloadClaims

__all__ = (
    "AccessDecision",
    "AccessExplanation",
    "AccessGiven",
    "AccessMatrix",
    "AccessMatrixCell",
    "AccessMatrixRow",
    "AccessNarrowing",
    "AccessReason",
    "AccessRequest",
    "AccessToken",
    "AccessTokenType",
    "Administrator",
    "AdministratorOrder",
    "AdministratorPage",
    "AdministratorStatus",
    "AllServers",
    "AllTools",
    "Applied",
    "AppliedOutcome",
    "AppliedProposal",
    "Approval",
    "ApprovalAccess",
    "ApprovalAgreement",
    "ApprovalArguments",
    "ApprovalDecision",
    "ApprovalDefect",
    "ApprovalGroup",
    "ApprovalIdentity",
    "ApprovalKind",
    "ApprovalOwner",
    "ApprovalPage",
    "ApprovalPolicy",
    "ApprovalServer",
    "ApprovalStatus",
    "ApprovalToken",
    "ApprovalTool",
    "ArgumentsUsed",
    "AskedArguments",
    "AskingClient",
    "AuditActor",
    "AuditArguments",
    "AuditChanges",
    "AuditCheckpoint",
    "AuditCheckpointPage",
    "AuditConsistencyProof",
    "AuditCounts",
    "AuditDecision",
    "AuditedClient",
    "AuditedObject",
    "AuditedServer",
    "AuditEvent",
    "AuditEventPage",
    "AuditEventProof",
    "AuditExportFormat",
    "AuditHourCounts",
    "AuditLogKey",
    "AuditLogKeys",
    "AuditOutcome",
    "AuditRangeProof",
    "AuditSink",
    "AuditSinkCompression",
    "AuditSinkCreate",
    "AuditSinkCredentialKind",
    "AuditSinkError",
    "AuditSinkFormat",
    "AuditSinkLag",
    "AuditSinkOrder",
    "AuditSinkPage",
    "AuditSinkStart",
    "AuditSinkStatus",
    "AuditSinkUpdate",
    "AuditStats",
    "BearerAuditSinkCredential",
    "BearerCredential",
    "BreakGlassSignIn",
    "BreakGlassToken",
    "CallerType",
    "CallsAndPeople",
    "ChangeKind",
    "CheckedThing",
    "CheckState",
    "CheckStep",
    "ConnectionCheck",
    "ConnectionCheckRequest",
    "ConnectSettings",
    "ConnectSnippet",
    "ConsideredEntry",
    "ConsideredGrant",
    "ConsideredPolicy",
    "ConsideredToken",
    "CountedUse",
    "CreateAccessTokenBody",
    "CredentialSummary",
    "DefinitionChange",
    "EndedToken",
    "EndProposal",
    "EnvCredential",
    "EnvironmentVariables",
    "ExplainRequest",
    "GetLivenessResponseGetLiveness",
    "Grant",
    "GrantCreate",
    "GrantFault",
    "GrantOrder",
    "GrantPage",
    "GrantPreview",
    "GrantPreviewRequest",
    "GrantsScope",
    "GrantStatus",
    "GrantUpdate",
    "Group",
    "GroupCreate",
    "GroupMember",
    "GroupMemberPage",
    "GroupOrder",
    "GroupPage",
    "GroupPrincipal",
    "GroupUpdate",
    "HeaderAuditSinkCredential",
    "HeaderCredential",
    "Identity",
    "IdentityAccess",
    "IdentityAttributeChanges",
    "IdentityAttributes",
    "IdentityCreate",
    "IdentityKind",
    "IdentityLink",
    "IdentityLinkKind",
    "IdentityOrder",
    "IdentityPage",
    "IdentityPrincipal",
    "IdentityProvider",
    "IdentityProviderCreate",
    "IdentityProviderOrder",
    "IdentityProviderPage",
    "IdentityProviderSource",
    "IdentityProviderStatus",
    "IdentityProviderUpdate",
    "IdentityStatus",
    "IdentityUpdate",
    "InstructionsApprove",
    "InstructionsState",
    "IssuedCredential",
    "IssuedToken",
    "IssuedWebhookSecret",
    "JsonSchema",
    "JsonWebKey",
    "JsonWebKeySet",
    "KeepArguments",
    "KeptArguments",
    "LabelChanges",
    "Labels",
    "ListedScope",
    "Me",
    "NarrowingNote",
    "NarrowProposal",
    "NeededApproval",
    "NewTools",
    "NoAuditSinkCredential",
    "NoCredential",
    "NotReplayable",
    "OAuthClientCredential",
    "OAuthError",
    "OffboardedBy",
    "OffboardedVia",
    "OffboardingReceipt",
    "OffboardingReceiptContent",
    "OffboardingReceiptPage",
    "OffboardPreview",
    "OffboardReceipt",
    "OffboardRequest",
    "OffboardRevocations",
    "OffboardTransfer",
    "OwnTokenPickup",
    "Permission",
    "PickupState",
    "Policy",
    "PolicyAction",
    "PolicyChange",
    "PolicyCreate",
    "PolicyDiff",
    "PolicyEffect",
    "PolicyMode",
    "PolicyOrder",
    "PolicyOutcome",
    "PolicyPage",
    "PolicyRollback",
    "PolicySchema",
    "PolicySimulation",
    "PolicyStatus",
    "PolicyTemplate",
    "PolicyTemplateParameters",
    "PolicyTemplateRender",
    "PolicyTemplates",
    "PolicyTest",
    "PolicyTestArguments",
    "PolicyTestClient",
    "PolicyTestIdentity",
    "PolicyTestOwner",
    "PolicyTestReport",
    "PolicyTestRequest",
    "PolicyTestResult",
    "PolicyUpdate",
    "PolicyVersion",
    "PolicyVersionPage",
    "PolicyWarning",
    "PreviewedServer",
    "PreviewedTool",
    "Problem",
    "ProblemError",
    "ReachedServer",
    "ReachedTool",
    "ReceiptAgents",
    "ReceiptSchedule",
    "RecordedDecision",
    "RenderedPolicy",
    "RequestableServer",
    "RequestableServerPage",
    "RequestableTool",
    "RevokedTokens",
    "Risk",
    "Role",
    "RoleAssignment",
    "RoleMap",
    "RoleMapChanges",
    "ScheduledOffboarding",
    "ScheduledOffboardingPage",
    "ScheduledOffboardingStatus",
    "ScimAttributeChanges",
    "ScimAttributes",
    "ScimLinkAttribute",
    "ScimSettings",
    "ScimSettingsUpdate",
    "ScopeEntry",
    "Secret",
    "Server",
    "ServerCreate",
    "ServerInstructions",
    "ServerOrder",
    "ServerPage",
    "ServerPart",
    "ServersByIds",
    "ServersByLabels",
    "ServerStatus",
    "ServerSync",
    "ServerUpdate",
    "ServiceAccount",
    "ServiceAccountCreate",
    "ServiceAccountCredential",
    "ServiceAccountCredentialPage",
    "ServiceAccountOrder",
    "ServiceAccountPage",
    "ServiceAccountStatus",
    "ServiceAccountUpdate",
    "SettableToolState",
    "SignalCredentialRequest",
    "SignalsDelivery",
    "SignalsSettings",
    "SignalsSettingsUpdate",
    "SignalStream",
    "SignalStreamError",
    "SignalStreamRequest",
    "SignalStreamStatus",
    "SigningAlgorithm",
    "SimulatedCall",
    "SimulatedChange",
    "SimulatedDecision",
    "SimulateRequest",
    "Source",
    "StaleAccessPage",
    "StaleApplied",
    "StaleApply",
    "StaleGrant",
    "StaleKind",
    "StaleState",
    "StaleToken",
    "SyncState",
    "Token",
    "TokenBulkRevocation",
    "TokenBulkRevoke",
    "TokenBulkRevokeFilter",
    "TokenCreate",
    "TokenDelivery",
    "TokenEndpointAuthMethod",
    "TokenOrder",
    "TokenPage",
    "TokenPickup",
    "TokenPickupCreate",
    "TokenPickupPage",
    "TokenProposal",
    "TokenRevocation",
    "TokenRevoke",
    "TokenRotate",
    "TokenStatus",
    "TokenUpdate",
    "Tool",
    "ToolAccess",
    "ToolAnnotations",
    "ToolApprove",
    "ToolCaller",
    "ToolChanges",
    "ToolCreate",
    "ToolDefinition",
    "ToolGrant",
    "ToolGrants",
    "ToolOrder",
    "ToolPage",
    "ToolsByNames",
    "ToolsByRisk",
    "ToolsByRiskCounts",
    "ToolState",
    "ToolUpdate",
    "Transport",
    "UnusedTool",
    "UpstreamCredential",
    "UpstreamCredentialKind",
    "UpstreamCredentialPage",
    "UsedPart",
    "UsedThing",
    "Webhook",
    "WebhookCreate",
    "WebhookDelivery",
    "WebhookDeliveryError",
    "WebhookDeliveryPage",
    "WebhookDeliveryState",
    "WebhookDisabledReason",
    "WebhookEvent",
    "WebhookMessageData",
    "WebhookOrder",
    "WebhookPage",
    "WebhookRotate",
    "WebhookStatus",
    "WebhookUpdate",
    "Workload",
    "WorkloadClaims",
)
