-- Orders of course runs that were ever paid, free ones included. Orders of programs belong to no run.
with orders as (
  select
    courserun_key,
    count(*) as order_count,
    count_if(order_is_fulfilled) as fulfilled_order_count,
    count_if(order_is_refunded) as refunded_order_count,
    sum(order_gross_paid_amount) as gross_paid_amount,
    sum(order_refunded_amount) as refunded_amount,
    sum(order_net_amount) as net_amount
  from {{ ref('tfact_order') }}
  where order_was_paid and courserun_key is not null
  group by courserun_key
)

select
  course_runs.platform,
  course_runs.courserun_readable_id,
  course_runs.courserun_title,
  courses.course_readable_id,
  courses.course_title,
  orders.order_count,
  orders.fulfilled_order_count,
  orders.refunded_order_count,
  cast(orders.gross_paid_amount as decimal(38, 9)) as gross_paid_amount,
  cast(orders.refunded_amount as decimal(38, 9)) as refunded_amount,
  cast(orders.net_amount as decimal(38, 9)) as net_amount
from orders
inner join {{ ref('dim_course_run') }} as course_runs on course_runs.courserun_key = orders.courserun_key and course_runs.is_current
left join {{ ref('dim_course') }} as courses on courses.course_key = course_runs.course_key
where course_runs.courserun_readable_id is not null
