{# The staging models of one deployment of Open edX. Three deployments have one shape, so each model's file names only its deployment. #}

{#
  Tracking logs, one row for each event, its JSON taken apart as far as every reader needs it.

  An event is known by its content: one that a server wrote twice, or that stands in two log files, has one key and is kept as it came first.
  Rows are merged: a build reads what has arrived since the last one, less var lookback_days, and adds what is not there.
#}
{% macro openedx_tracking_logs(deployment) -%}
{%- set content = [
  'time', 'event_type', 'event_source', 'name', 'username', 'session', 'page', 'host', 'ip', 'agent', 'accept_language', 'referer', 'event', 'context', 'extra'
] -%}
with delivered as (
  select
    {{ surrogate_key(["'" ~ deployment ~ "'"] + content) }} as event_key,
    *
  from {{ raw_rows('raw__' ~ deployment ~ '__openedx__tracking_logs') }}
  {%- if in_backfill() %}
  where {{ within_backfill(utc('time')) }}
  {%- elif is_incremental() %}
  where retrieved_at >= with_timezone({{ arrivals_since('(select max(tracking_log_retrieved_on) from ' ~ this ~ ')') }}, 'UTC')
  {%- if dates_are_limited() %} and {{ limit_dates_in_development('time') }} {%- endif %}
  {%- elif dates_are_limited() %}
  where {{ limit_dates_in_development('time') }}
  {%- endif %}
),

numbered as (
  select *, row_number() over (partition by event_key order by retrieved_at, source_object, source_offset) as delivery
  from delivered
)

select
  numbered.event_key,
  '{{ deployment }}' as platform,
  {{ utc('numbered.time') }} as useractivity_timestamp,
  numbered.event_type as useractivity_event_type,
  numbered.name as useractivity_event_name,
  numbered.event_source as useractivity_event_source,
  nullif(numbered.username, '') as user_username,
  try_cast({{ json_text('numbered.context', '$.user_id') }} as bigint) as openedx_user_id,
  coalesce(
    {{ json_text('numbered.context', '$.course_id') }},
    {{ json_text('numbered.event', '$.course_id') }},
    regexp_extract(numbered.event_type, '^/courses/(course-v1:[^/?#]+)', 1)
  ) as courserun_readable_id,
  {{ json_text('numbered.context', '$.org_id') }} as courserun_org,
  {{ json_text('numbered.context', '$.path') }} as useractivity_path,
  {{ json_text('numbered.context', '$.module.usage_key') }} as useractivity_block_id,
  numbered.page as useractivity_page_url,
  coalesce(numbered.session, '') as useractivity_session_id,
  numbered.event as useractivity_event_object,
  numbered.context as useractivity_context_object,
  numbered.extra as useractivity_extra_object,
  numbered.log_day as tracking_log_day,
  numbered.source_object as tracking_log_object,
  numbered.source_offset as tracking_log_offset,
  {{ utc('numbered.retrieved_at') }} as tracking_log_retrieved_on
from numbered
{%- if is_incremental() and not in_backfill() %}
left join {{ this }} as known on known.event_key = numbered.event_key
{%- endif %}
where numbered.delivery = 1
{%- if is_incremental() and not in_backfill() %} and known.event_key is null {%- endif %}
{%- endmacro %}

{% macro openedx_course_structure(deployment) -%}
select
  '{{ deployment }}' as platform,
  course_id as courserun_readable_id,
  content_hash as coursestructure_content_hash,
  course_structure as coursestructure_document,
  course_structure_flattened as coursestructure_flattened,
  {{ utc('retrieved_at') }} as coursestructure_retrieved_on
from {{ raw_rows('raw__' ~ deployment ~ '__openedx__api__course_structure') }}
{%- endmacro %}

{% macro openedx_course_blocks(deployment) -%}
select
  '{{ deployment }}' as platform,
  course_id as courserun_readable_id,
  course_content_hash as coursestructure_content_hash,
  block_id as coursestructure_block_id,
  block_type as coursestructure_block_category,
  block_title as coursestructure_block_title,
  block_index as coursestructure_block_index,
  block_parent as coursestructure_parent_block_id,
  block_content_hash as coursestructure_block_content_hash,
  try(cast(from_iso8601_timestamp(block_start) at time zone 'UTC' as timestamp(6))) as coursestructure_block_start_on,
  try(cast(from_iso8601_timestamp(block_due) at time zone 'UTC' as timestamp(6))) as coursestructure_block_due_on,
  course_title as courserun_title,
  {{ utc('retrieved_at') }} as coursestructure_retrieved_on
from {{ raw_rows('raw__' ~ deployment ~ '__openedx__api__course_blocks') }}
{%- endmacro %}

{# Blocks as files of the newest archive; numbers that course teams wrote otherwise are null. #}
{% macro openedx_course_xml_blocks(deployment) -%}
select
  '{{ deployment }}' as platform,
  course_id as courserun_readable_id,
  {{ block_id('course_id', 'block_type', 'block_id') }} as coursexml_block_id,
  block_type as coursexml_block_category,
  nullif(block_display_name, '') as coursexml_block_title,
  xml_attributes as coursexml_attributes,
  xml_path as coursexml_path,
  raw_xml as coursexml_document,
  try_cast(nullif(max_attempts, '') as bigint) as problem_max_attempts,
  try_cast(nullif(weight, '') as double) as problem_weight,
  nullif(markdown, '') as problem_markdown,
  archive_sha256 as coursexml_archive_sha256,
  published_version as coursexml_published_version,
  {{ utc('retrieved_at') }} as coursexml_retrieved_on
from {{ raw_rows('raw__' ~ deployment ~ '__openedx__course_xml__blocks') }}
{%- endmacro %}

{% macro openedx_course_xml_video(deployment) -%}
select
  '{{ deployment }}' as platform,
  course_id as courserun_readable_id,
  {{ block_id('course_id', "'video'", 'video_block_id') }} as video_block_id,
  nullif(edx_video_id, '') as video_edx_id,
  if(try_cast(duration as decimal(12, 6)) > 0, try_cast(duration as decimal(12, 6))) as video_duration_seconds,
  {{ utc('retrieved_at') }} as video_retrieved_on
from {{ raw_rows('raw__' ~ deployment ~ '__openedx__course_xml__video') }}
{%- endmacro %}

{# A document that is not in the newest dump any more was deleted in the forum, or its thread was. #}
{% macro openedx_forum_contents(deployment) -%}
select
  '{{ deployment }}' as platform,
  _id as forumcontent_id,
  course_id as courserun_readable_id,
  case when _type = 'CommentThread' then 'thread' when parent_id is null then 'response' else 'comment' end as forumcontent_kind,
  thread_type as forumcontent_thread_type,
  coalesce(comment_thread_id, if(_type = 'CommentThread', _id)) as forumcontent_thread_id,
  parent_id as forumcontent_parent_id,
  commentable_id as discussiontopic_id,
  title as forumcontent_title,
  body as forumcontent_body,
  author_id as openedx_user_id,
  author_username as user_username,
  coalesce(endorsed, false) as forumcontent_is_endorsed,
  coalesce(votes__up_count, 0) as forumcontent_vote_count,
  {{ utc('created_at') }} as forumcontent_created_on,
  {{ utc('updated_at') }} as forumcontent_updated_on,
  {{ utc('retrieved_at') }} as forumcontent_retrieved_on,
  retrieved_at < max(retrieved_at) over () as forumcontent_is_deleted
from {{ raw_rows('raw__' ~ deployment ~ '__openedx__mongodb__forum__contents') }}
{%- endmacro %}
