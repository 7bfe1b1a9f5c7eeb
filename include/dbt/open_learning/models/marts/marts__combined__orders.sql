-- One row per order, with the person, the product and, where a run was bought, its course.
select
  orders.order_key,
  orders.platform,
  platforms.platform_name,
  orders.order_id,
  orders.order_state,
  orders.order_was_paid,
  orders.order_created_on,
  dates.fiscal_year as order_fiscal_year,
  orders.user_key,
  users.user_email,
  users.user_full_name,
  products.product_type,
  products.product_readable_id,
  products.product_title,
  orders.courserun_readable_id,
  courses.course_readable_id,
  products.product_price,
  orders.order_gross_paid_amount,
  orders.order_refunded_amount,
  orders.order_net_amount
from {{ ref('tfact_order') }} as orders
inner join {{ ref('dim_platform') }} as platforms on platforms.platform = orders.platform
left join {{ ref('dim_date') }} as dates on dates.date_key = orders.order_date_key
left join {{ ref('dim_user') }} as users on users.user_key = orders.user_key
left join {{ ref('dim_product') }} as products on products.product_key = orders.product_key
left join {{ ref('dim_course_run') }} as course_runs on course_runs.courserun_key = orders.courserun_key and course_runs.is_current
left join {{ ref('dim_course') }} as courses on courses.course_key = course_runs.course_key
