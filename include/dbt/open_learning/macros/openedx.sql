{#
  A raw table of Open edX with the columns of its source. A table that no job has made yet is empty, and a column that it lacks is null: a forum's table has
  the columns of the documents that were ever in it. In a unit test the given rows are taken as they are.
#}
{% macro raw_rows(name) -%}
  {%- set relation = source('ol_warehouse_raw_data', name) -%}
  {%- if not execute or relation.is_cte -%}
    {{ return(relation) }}
  {%- endif -%}
  {%- set found = adapter.get_columns_in_relation(relation) | map(attribute='name') | list -%}
  {%- if not found -%}
    {%- do exceptions.warn(name ~ ": there is no such table yet; it is read as empty") -%}
  {%- endif -%}
  (
    select
      {% for column in (graph.sources.values() | selectattr('identifier', 'equalto', name) | first).columns.values() -%}
      {{ adapter.quote(column.name) if column.name in found else 'cast(null as ' ~ column.data_type ~ ') as ' ~ adapter.quote(column.name) }}{{ ', ' if not loop.last }}
      {%- endfor %}
    {{ 'from ' ~ relation if found else 'where false' }}
  )
{%- endmacro %}

{# One staging model of every deployment, one below the other: `select <columns>` from each. The models are named stg__<deployment>__<rest>. #}
{% macro of_all_deployments(rest, columns='*') -%}
  {%- for deployment in var('openedx_deployments') %}
  {{ 'union all' if not loop.first }}
  select {{ columns }} from {{ ref('stg__' ~ deployment ~ '__' ~ rest) }}
  {%- endfor %}
{%- endmacro %}

{# A scalar of a JSON text; null where there is none, and for the text null, which players send for what they do not know. #}
{% macro json_text(document, path) -%}
  nullif(nullif(json_extract_scalar({{ document }}, '{{ path }}'), ''), 'null')
{%- endmacro %}

{# Seconds of a video's timeline, exact to the microsecond; null for what is no such position: null, NaN, infinity, text, a negative number. #}
{% macro json_seconds(document, paths) -%}
  case
    {%- for path in paths %}
    when try_cast({{ json_text(document, path) }} as decimal(12, 6)) >= 0 then try_cast({{ json_text(document, path) }} as decimal(12, 6))
    {%- endfor %}
  end
{%- endmacro %}

{# The full id of a block from its run, its type and its name at the end; what is a full id already, and what belongs to a run of the old form, stays. #}
{% macro block_id(courserun, block_type, name) -%}
  case
    when {{ name }} like 'block-v1:%' or {{ courserun }} not like 'course-v1:%' then {{ name }}
    else 'block-v1:' || substr({{ courserun }}, 11) || '+type@' || {{ block_type }} || '+block@' || {{ name }}
  end
{%- endmacro %}

{# `actions` maps our word for what somebody did to the types of events that tell it. #}
{% macro action_of(event_type, actions) -%}
  case
    {%- for action, types in actions.items() %}
    when {{ event_type }} in ('{{ types | join("', '") }}') then '{{ action }}'
    {%- endfor %}
  end
{%- endmacro %}

{% macro types_of(actions) -%}
  '{{ actions.values() | sum(start=[]) | join("', '") }}'
{%- endmacro %}

{#
  The events that a fact still has to get, of all deployments: those that meet `condition` and

  - in a first build: all;
  - later: what reached the lake since the platform's watermark, less var lookback_days, and is not in the fact yet. The watermark is the newest arrival
    (when the log file was read), not the newest event: an event that comes late is taken whatever its own time. A platform without rows has no watermark,
    so all of it is taken. A second build takes nothing;
  - with vars min_date and max_date: all of these days, those that the fact has already included.

  In somebody's own schemas only the newest days: macros/windows.sql.
#}
{% macro arriving_events(condition) -%}
  {%- for deployment in var('openedx_deployments') %}
  {{ 'union all' if not loop.first }}
  select logs.*
  from {{ ref('stg__' ~ deployment ~ '__openedx__tracking_logs') }} as logs
  {%- if is_incremental() and not in_backfill() %}
  left join {{ this }} as known on known.event_key = logs.event_key
  {%- endif %}
  where ({{ condition }})
    {%- if dates_are_limited() and not in_backfill() %}
    and {{ limit_dates_in_development('logs.useractivity_timestamp') }}
    {%- endif %}
    {%- if in_backfill() %}
    and {{ within_backfill('logs.useractivity_timestamp') }}
    {%- elif is_incremental() %}
    and known.event_key is null
    and logs.tracking_log_retrieved_on >= {{ arrivals_since("(select max(tracking_log_retrieved_on) from " ~ this ~ " where platform = '" ~ deployment ~ "')") }}
    {%- endif %}
  {%- endfor %}
{%- endmacro %}

{# From when on arrivals are read again: `newest` less var lookback_days; two days may be loaded at a time, and the one read first be stored last. #}
{% macro arrivals_since(newest) -%}
  coalesce({{ newest }} - interval '{{ var("lookback_days") | int }}' day, timestamp '1970-01-01 00:00:00')
{%- endmacro %}

{% macro in_backfill() -%}
  {%- if (var('min_date') is none) != (var('max_date') is none) -%}
    {{ exceptions.raise_compiler_error("min_date and max_date: found one of them; allowed: both, or neither; for example: --vars '{min_date: 2026-03-01, max_date: 2026-03-31}'") }}
  {%- endif -%}
  {{ return(var('min_date') is not none) }}
{%- endmacro %}

{% macro within_backfill(moment) -%}
  {{ moment }} >= timestamp '{{ var("min_date") }} 00:00:00' and {{ moment }} < timestamp '{{ var("max_date") }} 00:00:00' + interval '1' day
{%- endmacro %}
