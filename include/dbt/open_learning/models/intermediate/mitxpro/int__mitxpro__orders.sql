-- One row per order. xPRO keeps no transactions: a fulfilled order was paid in full, a refunded one given back in full.
select
  orders.order_id,
  orders.user_id,
  orders.order_state,
  orders.order_state in ('fulfilled', 'refunded') as order_was_paid,
  orders.order_state = 'fulfilled' as order_is_fulfilled,
  orders.order_state = 'refunded' as order_is_refunded,
  case when orders.order_state in ('fulfilled', 'refunded') then orders.order_total_price_paid else 0 end as order_paid_amount,
  case when orders.order_state = 'refunded' then orders.order_total_price_paid else 0 end as order_refunded_amount,
  versions.product_id,
  case when content_types.contenttype_name = 'courses.courserun' then products.product_object_id end as courserun_id,
  orders.order_created_on,
  orders.order_updated_on
from {{ ref('stg__mitxpro__app__postgres__ecommerce_order') }} as orders
left join {{ ref('stg__mitxpro__app__postgres__ecommerce_line') }} as lines on lines.order_id = orders.order_id
left join {{ ref('stg__mitxpro__app__postgres__ecommerce_productversion') }} as versions on versions.productversion_id = lines.productversion_id
left join {{ ref('stg__mitxpro__app__postgres__ecommerce_product') }} as products on products.product_id = versions.product_id
left join {{ ref('stg__mitxpro__app__postgres__django_content_type') }} as content_types on content_types.contenttype_id = products.contenttype_id
