-- Every enrolment in a run with a readable id is counted once, on its own platform.
with reported as (
  select platform, sum(enrollment_count) as enrollment_count, sum(active_count) as active_count
  from {{ ref('enrollment_summary_report') }}
  group by platform
),

counted as (
  select platform, count(*) as enrollment_count, count_if(courserunenrollment_is_active) as active_count
  from {{ ref('tfact_enrollment') }}
  where not is_deleted and courserun_readable_id is not null
  group by platform
)

select *
from reported
full outer join counted on counted.platform = reported.platform
where reported.enrollment_count is distinct from counted.enrollment_count or reported.active_count is distinct from counted.active_count
