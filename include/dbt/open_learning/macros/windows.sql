{#
  In somebody's own schemas (a developer's or a pull request's, which have OL_SCHEMA_SUFFIX) large models read the newest days alone, var
  development_days of them: enough to see what a change does, for a small part of the cost. Never in production or QA, whose tables are whole; var
  ignore_date_limits takes the limit away, for the change that is about old rows.

  A condition on `moment`, a timestamp in UTC with or without its zone; ask dates_are_limited() first.
#}
{% macro limit_dates_in_development(moment) -%}
  {{ moment }} >= current_timestamp - interval '{{ var("development_days") | int }}' day
{%- endmacro %}

{% macro dates_are_limited() -%}
  {{ return(target.name != 'production' and (env_var('OL_SCHEMA_SUFFIX', '') | trim) != '' and not var('ignore_date_limits')) }}
{%- endmacro %}
