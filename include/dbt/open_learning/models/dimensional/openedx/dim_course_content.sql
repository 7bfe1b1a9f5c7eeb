{{ config(materialized='incremental', unique_key='coursecontent_key') }}

-- Every version of every course's structure that was seen, one row for each block. The raw tables have the newest version alone; here the earlier ones
-- stay. A version is known by its content, so one that comes back is the latest again. A second build writes nothing.
{% set columns = [
  'coursecontent_key', 'platform', 'courserun_readable_id', 'courserun_title', 'coursestructure_content_hash', 'coursestructure_block_id',
  'coursestructure_block_category', 'coursestructure_block_title', 'coursestructure_block_index', 'coursestructure_parent_block_id', 'chapter_block_id',
  'chapter_title', 'sequential_block_id', 'sequential_title', 'coursestructure_block_start_on', 'coursestructure_block_due_on',
  'coursestructure_retrieved_on'
] %}

with blocks as (
  select
    {{ surrogate_key(['platform', 'courserun_readable_id', 'coursestructure_content_hash', 'coursestructure_block_id']) }} as coursecontent_key,
    *,
    coursestructure_retrieved_on = max(coursestructure_retrieved_on) over (partition by platform, courserun_readable_id) as is_latest
  from {{ ref('int__combined__course_blocks') }}
)

select blocks.{{ columns | join(', blocks.') }}, blocks.is_latest
from blocks
{%- if is_incremental() %}
left join {{ this }} as known on known.coursecontent_key = blocks.coursecontent_key
where known.coursecontent_key is null or known.is_latest <> blocks.is_latest

union all

select known.{{ columns | join(', known.') }}, false
from {{ this }} as known
inner join (select distinct platform, courserun_readable_id from blocks) as seen
  on seen.platform = known.platform and seen.courserun_readable_id = known.courserun_readable_id
left join blocks on blocks.coursecontent_key = known.coursecontent_key
where known.is_latest and blocks.coursecontent_key is null
{%- endif %}
