"""The models of requests and answers. A model is imported when it is first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .access_decision import AccessDecision
    from .access_explanation import AccessExplanation
    from .access_given import AccessGiven
    from .access_matrix import AccessMatrix
    from .access_matrix_cell import AccessMatrixCell
    from .access_matrix_row import AccessMatrixRow
    from .access_narrowing import AccessNarrowing
    from .access_reason import AccessReason
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
    from .approval_arguments import ApprovalArguments
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
    from .audit_hour_counts import AuditHourCounts
    from .audit_log_key import AuditLogKey
    from .audit_log_keys import AuditLogKeys
    from .audit_outcome import AuditOutcome
    from .audit_range_proof import AuditRangeProof
    from .audit_sink import AuditSink
    from .audit_sink_compression import AuditSinkCompression
    from .audit_sink_credential_kind import AuditSinkCredentialKind
    from .audit_sink_error import AuditSinkError
    from .audit_sink_format import AuditSinkFormat
    from .audit_sink_lag import AuditSinkLag
    from .audit_sink_order import AuditSinkOrder
    from .audit_sink_page import AuditSinkPage
    from .audit_sink_start import AuditSinkStart
    from .audit_sink_status import AuditSinkStatus
    from .audit_stats import AuditStats
    from .audited_client import AuditedClient
    from .audited_object import AuditedObject
    from .audited_server import AuditedServer
    from .bearer_audit_sink_credential import BearerAuditSinkCredential
    from .bearer_credential import BearerCredential
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
    from .considered_entry import ConsideredEntry
    from .considered_grant import ConsideredGrant
    from .considered_policy import ConsideredPolicy
    from .considered_token import ConsideredToken
    from .counted_use import CountedUse
    from .credential_summary import CredentialSummary
    from .definition_change import DefinitionChange
    from .end_proposal import EndProposal
    from .ended_token import EndedToken
    from .env_credential import EnvCredential
    from .environment_variables import EnvironmentVariables
    from .get_liveness_response_get_liveness import GetLivenessResponseGetLiveness
    from .grant import Grant
    from .grant_create import GrantCreate
    from .grant_fault import GrantFault
    from .grant_order import GrantOrder
    from .grant_page import GrantPage
    from .grant_preview import GrantPreview
    from .grant_status import GrantStatus
    from .grants_scope import GrantsScope
    from .group import Group
    from .group_member import GroupMember
    from .group_member_page import GroupMemberPage
    from .group_order import GroupOrder
    from .group_page import GroupPage
    from .group_principal import GroupPrincipal
    from .header_audit_sink_credential import HeaderAuditSinkCredential
    from .header_credential import HeaderCredential
    from .identity import Identity
    from .identity_access import IdentityAccess
    from .identity_attribute_changes import IdentityAttributeChanges
    from .identity_attributes import IdentityAttributes
    from .identity_kind import IdentityKind
    from .identity_link import IdentityLink
    from .identity_link_input import IdentityLinkInput
    from .identity_link_kind import IdentityLinkKind
    from .identity_order import IdentityOrder
    from .identity_page import IdentityPage
    from .identity_principal import IdentityPrincipal
    from .identity_provider import IdentityProvider
    from .identity_provider_order import IdentityProviderOrder
    from .identity_provider_page import IdentityProviderPage
    from .identity_provider_source import IdentityProviderSource
    from .identity_provider_status import IdentityProviderStatus
    from .identity_status import IdentityStatus
    from .instructions_state import InstructionsState
    from .invitation import Invitation
    from .invitation_claim import InvitationClaim
    from .invitation_page import InvitationPage
    from .invitation_status import InvitationStatus
    from .invited_person import InvitedPerson
    from .issued_credential import IssuedCredential
    from .issued_invitation import IssuedInvitation
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
    from .offboard_preview import OffboardPreview
    from .offboard_receipt import OffboardReceipt
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
    from .policy_diff import PolicyDiff
    from .policy_effect import PolicyEffect
    from .policy_mode import PolicyMode
    from .policy_order import PolicyOrder
    from .policy_outcome import PolicyOutcome
    from .policy_page import PolicyPage
    from .policy_schema import PolicySchema
    from .policy_simulation import PolicySimulation
    from .policy_status import PolicyStatus
    from .policy_template import PolicyTemplate
    from .policy_template_parameters import PolicyTemplateParameters
    from .policy_templates import PolicyTemplates
    from .policy_test import PolicyTest
    from .policy_test_arguments import PolicyTestArguments
    from .policy_test_client import PolicyTestClient
    from .policy_test_identity import PolicyTestIdentity
    from .policy_test_owner import PolicyTestOwner
    from .policy_test_report import PolicyTestReport
    from .policy_test_request import PolicyTestRequest
    from .policy_test_result import PolicyTestResult
    from .policy_version import PolicyVersion
    from .policy_version_page import PolicyVersionPage
    from .policy_warning import PolicyWarning
    from .previewed_server import PreviewedServer
    from .previewed_tool import PreviewedTool
    from .reached_server import ReachedServer
    from .reached_tool import ReachedTool
    from .reaches import Reaches
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
    from .selector_warning import SelectorWarning
    from .server import Server
    from .server_instructions import ServerInstructions
    from .server_order import ServerOrder
    from .server_page import ServerPage
    from .server_part import ServerPart
    from .server_status import ServerStatus
    from .server_sync import ServerSync
    from .servers_by_ids import ServersByIds
    from .servers_by_labels import ServersByLabels
    from .service_account import ServiceAccount
    from .service_account_credential import ServiceAccountCredential
    from .service_account_credential_page import ServiceAccountCredentialPage
    from .service_account_order import ServiceAccountOrder
    from .service_account_page import ServiceAccountPage
    from .service_account_status import ServiceAccountStatus
    from .settable_tool_state import SettableToolState
    from .signal_stream import SignalStream
    from .signal_stream_error import SignalStreamError
    from .signal_stream_status import SignalStreamStatus
    from .signals_delivery import SignalsDelivery
    from .signals_settings import SignalsSettings
    from .signals_settings_update import SignalsSettingsUpdate
    from .signing_algorithm import SigningAlgorithm
    from .simulated_call import SimulatedCall
    from .simulated_change import SimulatedChange
    from .simulated_decision import SimulatedDecision
    from .source import Source
    from .stale_access_page import StaleAccessPage
    from .stale_applied import StaleApplied
    from .stale_grant import StaleGrant
    from .stale_kind import StaleKind
    from .stale_state import StaleState
    from .stale_token import StaleToken
    from .sync_state import SyncState
    from .token import Token
    from .token_bulk_revocation import TokenBulkRevocation
    from .token_bulk_revoke_filter import TokenBulkRevokeFilter
    from .token_delivery import TokenDelivery
    from .token_endpoint_auth_method import TokenEndpointAuthMethod
    from .token_order import TokenOrder
    from .token_page import TokenPage
    from .token_pickup import TokenPickup
    from .token_pickup_page import TokenPickupPage
    from .token_proposal import TokenProposal
    from .token_revocation import TokenRevocation
    from .token_status import TokenStatus
    from .tool import Tool
    from .tool_access import ToolAccess
    from .tool_annotations import ToolAnnotations
    from .tool_caller import ToolCaller
    from .tool_changes import ToolChanges
    from .tool_definition import ToolDefinition
    from .tool_grant import ToolGrant
    from .tool_grants import ToolGrants
    from .tool_order import ToolOrder
    from .tool_page import ToolPage
    from .tool_state import ToolState
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
    from .webhook_delivery import WebhookDelivery
    from .webhook_delivery_error import WebhookDeliveryError
    from .webhook_delivery_page import WebhookDeliveryPage
    from .webhook_delivery_state import WebhookDeliveryState
    from .webhook_disabled_reason import WebhookDisabledReason
    from .webhook_event import WebhookEvent
    from .webhook_message_data import WebhookMessageData
    from .webhook_order import WebhookOrder
    from .webhook_page import WebhookPage
    from .webhook_status import WebhookStatus
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
    "ApprovalArguments",
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
    "AuditHourCounts",
    "AuditLogKey",
    "AuditLogKeys",
    "AuditOutcome",
    "AuditRangeProof",
    "AuditSink",
    "AuditSinkCompression",
    "AuditSinkCredentialKind",
    "AuditSinkError",
    "AuditSinkFormat",
    "AuditSinkLag",
    "AuditSinkOrder",
    "AuditSinkPage",
    "AuditSinkStart",
    "AuditSinkStatus",
    "AuditStats",
    "BearerAuditSinkCredential",
    "BearerCredential",
    "BreakGlassToken",
    "CallerType",
    "CallsAndPeople",
    "ChangeKind",
    "CheckedThing",
    "CheckState",
    "CheckStep",
    "ConnectionCheck",
    "ConnectSettings",
    "ConnectSnippet",
    "ConsideredEntry",
    "ConsideredGrant",
    "ConsideredPolicy",
    "ConsideredToken",
    "CountedUse",
    "CredentialSummary",
    "DefinitionChange",
    "EndedToken",
    "EndProposal",
    "EnvCredential",
    "EnvironmentVariables",
    "GetLivenessResponseGetLiveness",
    "Grant",
    "GrantCreate",
    "GrantFault",
    "GrantOrder",
    "GrantPage",
    "GrantPreview",
    "GrantsScope",
    "GrantStatus",
    "Group",
    "GroupMember",
    "GroupMemberPage",
    "GroupOrder",
    "GroupPage",
    "GroupPrincipal",
    "HeaderAuditSinkCredential",
    "HeaderCredential",
    "Identity",
    "IdentityAccess",
    "IdentityAttributeChanges",
    "IdentityAttributes",
    "IdentityKind",
    "IdentityLink",
    "IdentityLinkInput",
    "IdentityLinkKind",
    "IdentityOrder",
    "IdentityPage",
    "IdentityPrincipal",
    "IdentityProvider",
    "IdentityProviderOrder",
    "IdentityProviderPage",
    "IdentityProviderSource",
    "IdentityProviderStatus",
    "IdentityStatus",
    "InstructionsState",
    "Invitation",
    "InvitationClaim",
    "InvitationPage",
    "InvitationStatus",
    "InvitedPerson",
    "IssuedCredential",
    "IssuedInvitation",
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
    "OffboardedBy",
    "OffboardedVia",
    "OffboardingReceipt",
    "OffboardingReceiptContent",
    "OffboardingReceiptPage",
    "OffboardPreview",
    "OffboardReceipt",
    "OffboardRevocations",
    "OffboardTransfer",
    "OwnTokenPickup",
    "Permission",
    "PickupState",
    "Policy",
    "PolicyAction",
    "PolicyChange",
    "PolicyDiff",
    "PolicyEffect",
    "PolicyMode",
    "PolicyOrder",
    "PolicyOutcome",
    "PolicyPage",
    "PolicySchema",
    "PolicySimulation",
    "PolicyStatus",
    "PolicyTemplate",
    "PolicyTemplateParameters",
    "PolicyTemplates",
    "PolicyTest",
    "PolicyTestArguments",
    "PolicyTestClient",
    "PolicyTestIdentity",
    "PolicyTestOwner",
    "PolicyTestReport",
    "PolicyTestRequest",
    "PolicyTestResult",
    "PolicyVersion",
    "PolicyVersionPage",
    "PolicyWarning",
    "PreviewedServer",
    "PreviewedTool",
    "ReachedServer",
    "ReachedTool",
    "Reaches",
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
    "SelectorWarning",
    "Server",
    "ServerInstructions",
    "ServerOrder",
    "ServerPage",
    "ServerPart",
    "ServersByIds",
    "ServersByLabels",
    "ServerStatus",
    "ServerSync",
    "ServiceAccount",
    "ServiceAccountCredential",
    "ServiceAccountCredentialPage",
    "ServiceAccountOrder",
    "ServiceAccountPage",
    "ServiceAccountStatus",
    "SettableToolState",
    "SignalsDelivery",
    "SignalsSettings",
    "SignalsSettingsUpdate",
    "SignalStream",
    "SignalStreamError",
    "SignalStreamStatus",
    "SigningAlgorithm",
    "SimulatedCall",
    "SimulatedChange",
    "SimulatedDecision",
    "Source",
    "StaleAccessPage",
    "StaleApplied",
    "StaleGrant",
    "StaleKind",
    "StaleState",
    "StaleToken",
    "SyncState",
    "Token",
    "TokenBulkRevocation",
    "TokenBulkRevokeFilter",
    "TokenDelivery",
    "TokenEndpointAuthMethod",
    "TokenOrder",
    "TokenPage",
    "TokenPickup",
    "TokenPickupPage",
    "TokenProposal",
    "TokenRevocation",
    "TokenStatus",
    "Tool",
    "ToolAccess",
    "ToolAnnotations",
    "ToolCaller",
    "ToolChanges",
    "ToolDefinition",
    "ToolGrant",
    "ToolGrants",
    "ToolOrder",
    "ToolPage",
    "ToolsByNames",
    "ToolsByRisk",
    "ToolsByRiskCounts",
    "ToolState",
    "Transport",
    "UnusedTool",
    "UpstreamCredential",
    "UpstreamCredentialKind",
    "UpstreamCredentialPage",
    "UsedPart",
    "UsedThing",
    "Webhook",
    "WebhookDelivery",
    "WebhookDeliveryError",
    "WebhookDeliveryPage",
    "WebhookDeliveryState",
    "WebhookDisabledReason",
    "WebhookEvent",
    "WebhookMessageData",
    "WebhookOrder",
    "WebhookPage",
    "WebhookStatus",
    "Workload",
    "WorkloadClaims",
)

_MODULES = {
    "AccessDecision": ".access_decision",
    "AccessExplanation": ".access_explanation",
    "AccessGiven": ".access_given",
    "AccessMatrix": ".access_matrix",
    "AccessMatrixCell": ".access_matrix_cell",
    "AccessMatrixRow": ".access_matrix_row",
    "AccessNarrowing": ".access_narrowing",
    "AccessReason": ".access_reason",
    "AccessToken": ".access_token",
    "AccessTokenType": ".access_token_type",
    "Administrator": ".administrator",
    "AdministratorOrder": ".administrator_order",
    "AdministratorPage": ".administrator_page",
    "AdministratorStatus": ".administrator_status",
    "AllServers": ".all_servers",
    "AllTools": ".all_tools",
    "Applied": ".applied",
    "AppliedOutcome": ".applied_outcome",
    "AppliedProposal": ".applied_proposal",
    "Approval": ".approval",
    "ApprovalAccess": ".approval_access",
    "ApprovalArguments": ".approval_arguments",
    "ApprovalDefect": ".approval_defect",
    "ApprovalGroup": ".approval_group",
    "ApprovalIdentity": ".approval_identity",
    "ApprovalKind": ".approval_kind",
    "ApprovalOwner": ".approval_owner",
    "ApprovalPage": ".approval_page",
    "ApprovalPolicy": ".approval_policy",
    "ApprovalServer": ".approval_server",
    "ApprovalStatus": ".approval_status",
    "ApprovalToken": ".approval_token",
    "ApprovalTool": ".approval_tool",
    "ArgumentsUsed": ".arguments_used",
    "AskedArguments": ".asked_arguments",
    "AskingClient": ".asking_client",
    "AuditActor": ".audit_actor",
    "AuditArguments": ".audit_arguments",
    "AuditChanges": ".audit_changes",
    "AuditCheckpoint": ".audit_checkpoint",
    "AuditCheckpointPage": ".audit_checkpoint_page",
    "AuditConsistencyProof": ".audit_consistency_proof",
    "AuditCounts": ".audit_counts",
    "AuditDecision": ".audit_decision",
    "AuditEvent": ".audit_event",
    "AuditEventPage": ".audit_event_page",
    "AuditEventProof": ".audit_event_proof",
    "AuditHourCounts": ".audit_hour_counts",
    "AuditLogKey": ".audit_log_key",
    "AuditLogKeys": ".audit_log_keys",
    "AuditOutcome": ".audit_outcome",
    "AuditRangeProof": ".audit_range_proof",
    "AuditSink": ".audit_sink",
    "AuditSinkCompression": ".audit_sink_compression",
    "AuditSinkCredentialKind": ".audit_sink_credential_kind",
    "AuditSinkError": ".audit_sink_error",
    "AuditSinkFormat": ".audit_sink_format",
    "AuditSinkLag": ".audit_sink_lag",
    "AuditSinkOrder": ".audit_sink_order",
    "AuditSinkPage": ".audit_sink_page",
    "AuditSinkStart": ".audit_sink_start",
    "AuditSinkStatus": ".audit_sink_status",
    "AuditStats": ".audit_stats",
    "AuditedClient": ".audited_client",
    "AuditedObject": ".audited_object",
    "AuditedServer": ".audited_server",
    "BearerAuditSinkCredential": ".bearer_audit_sink_credential",
    "BearerCredential": ".bearer_credential",
    "BreakGlassToken": ".break_glass_token",
    "CallerType": ".caller_type",
    "CallsAndPeople": ".calls_and_people",
    "ChangeKind": ".change_kind",
    "CheckState": ".check_state",
    "CheckStep": ".check_step",
    "CheckedThing": ".checked_thing",
    "ConnectSettings": ".connect_settings",
    "ConnectSnippet": ".connect_snippet",
    "ConnectionCheck": ".connection_check",
    "ConsideredEntry": ".considered_entry",
    "ConsideredGrant": ".considered_grant",
    "ConsideredPolicy": ".considered_policy",
    "ConsideredToken": ".considered_token",
    "CountedUse": ".counted_use",
    "CredentialSummary": ".credential_summary",
    "DefinitionChange": ".definition_change",
    "EndProposal": ".end_proposal",
    "EndedToken": ".ended_token",
    "EnvCredential": ".env_credential",
    "EnvironmentVariables": ".environment_variables",
    "GetLivenessResponseGetLiveness": ".get_liveness_response_get_liveness",
    "Grant": ".grant",
    "GrantCreate": ".grant_create",
    "GrantFault": ".grant_fault",
    "GrantOrder": ".grant_order",
    "GrantPage": ".grant_page",
    "GrantPreview": ".grant_preview",
    "GrantStatus": ".grant_status",
    "GrantsScope": ".grants_scope",
    "Group": ".group",
    "GroupMember": ".group_member",
    "GroupMemberPage": ".group_member_page",
    "GroupOrder": ".group_order",
    "GroupPage": ".group_page",
    "GroupPrincipal": ".group_principal",
    "HeaderAuditSinkCredential": ".header_audit_sink_credential",
    "HeaderCredential": ".header_credential",
    "Identity": ".identity",
    "IdentityAccess": ".identity_access",
    "IdentityAttributeChanges": ".identity_attribute_changes",
    "IdentityAttributes": ".identity_attributes",
    "IdentityKind": ".identity_kind",
    "IdentityLink": ".identity_link",
    "IdentityLinkInput": ".identity_link_input",
    "IdentityLinkKind": ".identity_link_kind",
    "IdentityOrder": ".identity_order",
    "IdentityPage": ".identity_page",
    "IdentityPrincipal": ".identity_principal",
    "IdentityProvider": ".identity_provider",
    "IdentityProviderOrder": ".identity_provider_order",
    "IdentityProviderPage": ".identity_provider_page",
    "IdentityProviderSource": ".identity_provider_source",
    "IdentityProviderStatus": ".identity_provider_status",
    "IdentityStatus": ".identity_status",
    "InstructionsState": ".instructions_state",
    "Invitation": ".invitation",
    "InvitationClaim": ".invitation_claim",
    "InvitationPage": ".invitation_page",
    "InvitationStatus": ".invitation_status",
    "InvitedPerson": ".invited_person",
    "IssuedCredential": ".issued_credential",
    "IssuedInvitation": ".issued_invitation",
    "IssuedToken": ".issued_token",
    "IssuedWebhookSecret": ".issued_webhook_secret",
    "JsonSchema": ".json_schema",
    "JsonWebKey": ".json_web_key",
    "JsonWebKeySet": ".json_web_key_set",
    "KeepArguments": ".keep_arguments",
    "KeptArguments": ".kept_arguments",
    "LabelChanges": ".label_changes",
    "Labels": ".labels",
    "ListedScope": ".listed_scope",
    "Me": ".me",
    "NarrowProposal": ".narrow_proposal",
    "NarrowingNote": ".narrowing_note",
    "NeededApproval": ".needed_approval",
    "NewTools": ".new_tools",
    "NoAuditSinkCredential": ".no_audit_sink_credential",
    "NoCredential": ".no_credential",
    "NotReplayable": ".not_replayable",
    "OAuthClientCredential": ".o_auth_client_credential",
    "OffboardPreview": ".offboard_preview",
    "OffboardReceipt": ".offboard_receipt",
    "OffboardRevocations": ".offboard_revocations",
    "OffboardTransfer": ".offboard_transfer",
    "OffboardedBy": ".offboarded_by",
    "OffboardedVia": ".offboarded_via",
    "OffboardingReceipt": ".offboarding_receipt",
    "OffboardingReceiptContent": ".offboarding_receipt_content",
    "OffboardingReceiptPage": ".offboarding_receipt_page",
    "OwnTokenPickup": ".own_token_pickup",
    "Permission": ".permission",
    "PickupState": ".pickup_state",
    "Policy": ".policy",
    "PolicyAction": ".policy_action",
    "PolicyChange": ".policy_change",
    "PolicyDiff": ".policy_diff",
    "PolicyEffect": ".policy_effect",
    "PolicyMode": ".policy_mode",
    "PolicyOrder": ".policy_order",
    "PolicyOutcome": ".policy_outcome",
    "PolicyPage": ".policy_page",
    "PolicySchema": ".policy_schema",
    "PolicySimulation": ".policy_simulation",
    "PolicyStatus": ".policy_status",
    "PolicyTemplate": ".policy_template",
    "PolicyTemplateParameters": ".policy_template_parameters",
    "PolicyTemplates": ".policy_templates",
    "PolicyTest": ".policy_test",
    "PolicyTestArguments": ".policy_test_arguments",
    "PolicyTestClient": ".policy_test_client",
    "PolicyTestIdentity": ".policy_test_identity",
    "PolicyTestOwner": ".policy_test_owner",
    "PolicyTestReport": ".policy_test_report",
    "PolicyTestRequest": ".policy_test_request",
    "PolicyTestResult": ".policy_test_result",
    "PolicyVersion": ".policy_version",
    "PolicyVersionPage": ".policy_version_page",
    "PolicyWarning": ".policy_warning",
    "PreviewedServer": ".previewed_server",
    "PreviewedTool": ".previewed_tool",
    "ReachedServer": ".reached_server",
    "ReachedTool": ".reached_tool",
    "Reaches": ".reaches",
    "ReceiptAgents": ".receipt_agents",
    "ReceiptSchedule": ".receipt_schedule",
    "RecordedDecision": ".recorded_decision",
    "RenderedPolicy": ".rendered_policy",
    "RequestableServer": ".requestable_server",
    "RequestableServerPage": ".requestable_server_page",
    "RequestableTool": ".requestable_tool",
    "RevokedTokens": ".revoked_tokens",
    "Risk": ".risk",
    "Role": ".role",
    "RoleAssignment": ".role_assignment",
    "RoleMap": ".role_map",
    "RoleMapChanges": ".role_map_changes",
    "ScheduledOffboarding": ".scheduled_offboarding",
    "ScheduledOffboardingPage": ".scheduled_offboarding_page",
    "ScheduledOffboardingStatus": ".scheduled_offboarding_status",
    "ScimAttributeChanges": ".scim_attribute_changes",
    "ScimAttributes": ".scim_attributes",
    "ScimLinkAttribute": ".scim_link_attribute",
    "ScimSettings": ".scim_settings",
    "ScimSettingsUpdate": ".scim_settings_update",
    "ScopeEntry": ".scope_entry",
    "Secret": ".secret",
    "SelectorWarning": ".selector_warning",
    "Server": ".server",
    "ServerInstructions": ".server_instructions",
    "ServerOrder": ".server_order",
    "ServerPage": ".server_page",
    "ServerPart": ".server_part",
    "ServerStatus": ".server_status",
    "ServerSync": ".server_sync",
    "ServersByIds": ".servers_by_ids",
    "ServersByLabels": ".servers_by_labels",
    "ServiceAccount": ".service_account",
    "ServiceAccountCredential": ".service_account_credential",
    "ServiceAccountCredentialPage": ".service_account_credential_page",
    "ServiceAccountOrder": ".service_account_order",
    "ServiceAccountPage": ".service_account_page",
    "ServiceAccountStatus": ".service_account_status",
    "SettableToolState": ".settable_tool_state",
    "SignalStream": ".signal_stream",
    "SignalStreamError": ".signal_stream_error",
    "SignalStreamStatus": ".signal_stream_status",
    "SignalsDelivery": ".signals_delivery",
    "SignalsSettings": ".signals_settings",
    "SignalsSettingsUpdate": ".signals_settings_update",
    "SigningAlgorithm": ".signing_algorithm",
    "SimulatedCall": ".simulated_call",
    "SimulatedChange": ".simulated_change",
    "SimulatedDecision": ".simulated_decision",
    "Source": ".source",
    "StaleAccessPage": ".stale_access_page",
    "StaleApplied": ".stale_applied",
    "StaleGrant": ".stale_grant",
    "StaleKind": ".stale_kind",
    "StaleState": ".stale_state",
    "StaleToken": ".stale_token",
    "SyncState": ".sync_state",
    "Token": ".token",
    "TokenBulkRevocation": ".token_bulk_revocation",
    "TokenBulkRevokeFilter": ".token_bulk_revoke_filter",
    "TokenDelivery": ".token_delivery",
    "TokenEndpointAuthMethod": ".token_endpoint_auth_method",
    "TokenOrder": ".token_order",
    "TokenPage": ".token_page",
    "TokenPickup": ".token_pickup",
    "TokenPickupPage": ".token_pickup_page",
    "TokenProposal": ".token_proposal",
    "TokenRevocation": ".token_revocation",
    "TokenStatus": ".token_status",
    "Tool": ".tool",
    "ToolAccess": ".tool_access",
    "ToolAnnotations": ".tool_annotations",
    "ToolCaller": ".tool_caller",
    "ToolChanges": ".tool_changes",
    "ToolDefinition": ".tool_definition",
    "ToolGrant": ".tool_grant",
    "ToolGrants": ".tool_grants",
    "ToolOrder": ".tool_order",
    "ToolPage": ".tool_page",
    "ToolState": ".tool_state",
    "ToolsByNames": ".tools_by_names",
    "ToolsByRisk": ".tools_by_risk",
    "ToolsByRiskCounts": ".tools_by_risk_counts",
    "Transport": ".transport",
    "UnusedTool": ".unused_tool",
    "UpstreamCredential": ".upstream_credential",
    "UpstreamCredentialKind": ".upstream_credential_kind",
    "UpstreamCredentialPage": ".upstream_credential_page",
    "UsedPart": ".used_part",
    "UsedThing": ".used_thing",
    "Webhook": ".webhook",
    "WebhookDelivery": ".webhook_delivery",
    "WebhookDeliveryError": ".webhook_delivery_error",
    "WebhookDeliveryPage": ".webhook_delivery_page",
    "WebhookDeliveryState": ".webhook_delivery_state",
    "WebhookDisabledReason": ".webhook_disabled_reason",
    "WebhookEvent": ".webhook_event",
    "WebhookMessageData": ".webhook_message_data",
    "WebhookOrder": ".webhook_order",
    "WebhookPage": ".webhook_page",
    "WebhookStatus": ".webhook_status",
    "Workload": ".workload",
    "WorkloadClaims": ".workload_claims",
}

# Type checkers read the imports above: with this function they would take any name for a model.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        model = getattr(import_module(_MODULES[name], __name__), name)
        globals()[name] = model
        return model


def __dir__() -> list[str]:
    return sorted(__all__)
