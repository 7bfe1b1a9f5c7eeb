-- A version ends before the next one of its run begins, and only the last may be current.
select courserun_key, effective_date, end_date, next_effective_date
from (
  select
    courserun_key,
    effective_date,
    end_date,
    is_current,
    lead(effective_date) over (partition by courserun_key order by effective_date) as next_effective_date
  from {{ ref('dim_course_run') }}
)
where is_current <> (end_date is null) or end_date < effective_date or end_date > next_effective_date or (is_current and next_effective_date is not null)
