{{ config(materialized='incremental', unique_key='courserun_version_key') }}

-- Type 2: one row per version of a course run, all versions of a run under one courserun_key.
--
-- A version begins when a tracked attribute was first seen to differ, and ends when the next one begins or when the run has left its source.
-- "Seen" is the platform's as_of: the newest extraction or update among its runs, or var as_of. The clock of the build is not used, so the same source
-- rows give the same versions and a second build writes nothing. A run's first version begins when the run was made; a run that comes back begins anew.
-- New and ended versions are written by one MERGE. A source without a single run has not been loaded, so none of its versions ends.
{% set tracked = [
  'course_key', 'courserun_readable_id', 'courserun_title', 'courserun_tag', 'courserun_start_on', 'courserun_end_on', 'courserun_enrollment_start_on',
  'courserun_enrollment_end_on', 'courserun_upgrade_deadline', 'courserun_is_self_paced', 'courserun_is_live', 'b2b_contract_id'
] %}
{% set columns = ['courserun_key', 'platform', 'courserun_id'] + tracked %}

with source_runs as (
  select * from {{ ref('int__combined__course_runs') }}
),

seen as (
  select
    platform,
    {% if var('as_of') -%}
    timestamp '{{ var("as_of") }}'
    {%- else -%}
    greatest(max(courserun_extracted_on), max(courserun_updated_on))
    {%- endif %} as as_of
  from source_runs
  group by platform
),

{% if is_incremental() %}
-- A platform's history, to tell a run never seen from one that comes back.
known as (
  select courserun_key, max(effective_date) as effective_date, max(end_date) as end_date
  from {{ this }}
  group by courserun_key
),

live as (
  select * from {{ this }} where is_current
),

changed as (
  select
    source_runs.*,
    live.effective_date as live_since,
    case
      when known.courserun_key is null then source_runs.courserun_created_on
      when live.courserun_key is null then greatest(seen.as_of, known.end_date)
      -- Seen no later than the version it differs from: that version is corrected in place.
      else greatest(seen.as_of, live.effective_date)
    end as effective_date
  from source_runs
  inner join seen on seen.platform = source_runs.platform
  left join known on known.courserun_key = source_runs.courserun_key
  left join live on live.courserun_key = source_runs.courserun_key
  where live.courserun_key is null or {{ any_distinct(tracked, 'source_runs', 'live') }}
),

ended as (
  select live.*, coalesce(changed.effective_date, greatest(seen.as_of, live.effective_date)) as ended_on
  from live
  inner join seen on seen.platform = live.platform
  left join source_runs on source_runs.courserun_key = live.courserun_key
  left join changed on changed.courserun_key = live.courserun_key
  where source_runs.courserun_key is null or changed.effective_date > live.effective_date
),
{% else %}
changed as (
  select *, courserun_created_on as effective_date from source_runs
),
{% endif %}

versions as (
  select {{ columns | join(', ') }}, effective_date, cast(null as timestamp(6)) as end_date, true as is_current
  from changed
  {% if is_incremental() %}
  union all
  select {{ columns | join(', ') }}, effective_date, ended_on, false
  from ended
  {% endif %}
)

select {{ surrogate_key(['courserun_key', 'effective_date']) }} as courserun_version_key, versions.*
from versions
